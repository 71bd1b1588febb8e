#ifndef ACTORS_REGISTRY_IDENTITY_H
#define ACTORS_REGISTRY_IDENTITY_H

#include "actors/depot.h"
#include "actors/intern.h"
#include "actors/registry.h"
#include "net/identify.h"

#include <assert.h>

/* What a peer told of itself, as the registry keeps it: versions and protocols
 * interned in one, addresses packed.  Under the registry's mutex. */

struct registry_told {
    struct intern_blob *texts; /* agent, version, protocols, each terminated; NULL: not identified yet */
    uint8_t *addresses; /* lengths (2 bytes) and binary addresses; the observed one first, maybe empty */
    uint8_t *record; /* sealed, and not opened yet; NULL: there is none, or it was */
    uint64_t record_seq; /* of one that is valid, or not opened yet */
    uint32_t addresses_bytes;
    uint16_t record_bytes;
    uint8_t key_type;
    bool signed_record;
};

static_assert(IDENTIFY_DEFERRED_RECORD_BYTES_MAX <= UINT16_MAX, "record_bytes");

/* Lists as they are kept. */
struct registry_lists {
    size_t texts_bytes, addresses_bytes;
    char texts[2 * IDENTIFY_VERSION_SIZE + REGISTRY_PROTOCOLS_BYTES_MAX];
    uint8_t addresses[REGISTRY_ADDRESSES_BYTES_MAX];
};

/* Without the mutex, for a peer may tell hundreds.  Addresses that one at `remote`
 * should not name, and what is over the bounds, are left out. */
void registry_lists_pack(struct registry_lists *out, const struct identify_result *result,
                         const struct multiaddr *remote);
/* Replaces what was told before; `lists` are those of `result`.  0 or
 * P2P_ERR_CALL_NOMEM: then nothing has changed. */
int registry_told_set(struct registry_told *told, struct interns *interns, struct depot *depot,
                      const struct identify_result *result, const struct registry_lists *lists,
                      const struct peer_id *id);
void registry_told_clear(struct registry_told *told, struct interns *interns, struct depot *depot);
/* That it takes; of what is interned, its share. */
uint32_t registry_told_bytes(const struct registry_told *told);
bool registry_told_speaks(const struct registry_told *told, const char *protocol);
/* The record that is not opened yet.  Nothing hangs on it but whether we say that
 * it was valid, and opening takes as long as a quarter of a handshake: so not
 * while connections come in, nor under the mutex.  Its bytes, and how many (0:
 * there is none). */
size_t registry_told_sealed(const struct registry_told *told, uint8_t out[IDENTIFY_DEFERRED_RECORD_BYTES_MAX]);
/* Without the mutex. */
bool registry_record_valid(const uint8_t *sealed, size_t length, const struct peer_id *id);
/* What it is, if the peer has told no other since; its bytes go. */
void registry_told_judge(struct registry_told *told, const uint8_t *sealed, size_t length, bool valid);
/* Judges the record first.  0 or P2P_ERR_CALL_NOMEM. */
int registry_told_copy(struct registry_told *told, struct p2p_identity **out, const struct peer_id *id);

#endif
