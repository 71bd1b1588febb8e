#include "actors/local.h"

#include "actors/session_state.h"
#include "actors/stream.h"
#include "crypto/aead.h"
#include "crypto/verified.h"
#include "crypto/x25519.h"
#include "net/multistream.h"

#include <malloc.h>
#include <stdlib.h>

static void free_crypto(struct local *local)
{
    aead_context_free(local->aead);
    verified_free(local->verified);
    x25519_pairs_free(local->pairs);
}

void *local_new(struct worker *worker, void *argument)
{
    struct local *local = calloc(1, sizeof(*local));

    (void)argument;
    if (local == NULL)
        return NULL;
    local->worker = worker;
    local->driver = worker_driver(worker);
    local->aead = aead_context_new();
    local->verified = verified_new();
    local->pairs = x25519_pairs_new();
    if (local->aead == NULL || local->verified == NULL || local->pairs == NULL) {
        free_crypto(local);
        free(local);
        return NULL;
    }
    cache_init(&local->streams, sizeof(struct p2p_stream), LOCAL_STREAMS_KEPT);
    cache_init(&local->slices, sizeof(struct slice), LOCAL_SLICES_KEPT);
    cache_init(&local->buffers, sizeof(struct p2p_buffer), LOCAL_BUFFERS_KEPT);
    cache_init(&local->negotiations, sizeof(struct multistream), LOCAL_NEGOTIATIONS_KEPT);
    cache_init(&local->busy, sizeof(struct session_busy), LOCAL_BUSY_KEPT);
    return local;
}

static void drain_caches(struct local *local)
{
    cache_fini(&local->streams);
    cache_fini(&local->slices);
    cache_fini(&local->buffers);
    cache_fini(&local->negotiations);
    cache_fini(&local->busy);
}

void local_free(struct worker *worker, void *argument)
{
    struct local *local = argument;

    (void)worker;
    if (local == NULL)
        return;
    drain_caches(local);
    free_crypto(local);
    free(local);
}

struct local *local_current(void)
{
    struct worker *worker = worker_current();

    return worker != NULL ? worker_local(worker) : NULL;
}

void local_reviewed(struct local *local, bool youngest)
{
    local->reviewed++;
    if (!youngest || local->handshakes != NULL || local->reviewed < LOCAL_TRIM_CONNECTIONS)
        return;
    local->reviewed = 0;
    drain_caches(local); /* what they keep lies among what handshakes gave back, some on each page */
#ifdef __GLIBC__
    (void)malloc_trim(0); /* else the heap does as it does */
#endif
}

bool local_handshake_allowed(struct local *local)
{
    uint64_t turn = worker_turn_number(local->worker);

    if (local->handshake_turn != turn) {
        local->handshake_turn = turn;
        local->handshake_ns = 0;
    }
    return local->handshake_ns < SESSION_HANDSHAKE_NS_TURN;
}

void local_handshake_spent(struct local *local, uint64_t begin_ns)
{
    local->handshake_ns += driver_now_ns(worker_driver(local->worker)) - begin_ns;
}
