#include "interop.h"

#include <ctype.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

/* /half/1.0.0 and /reset/1.0.0. */

enum { RESET_CODE = 4242 };

struct half {
    crypto_hash_sha256_state hash;
};

static void half_opened(struct p2p_stream *stream, void *user)
{
    struct half *half = malloc(sizeof(*half));

    (void)user;
    if (half != NULL)
        crypto_hash_sha256_init(&half->hash);
    p2p_stream_set_user(stream, half);
}

static void half_end(struct p2p_stream *stream, struct half *half)
{
    uint8_t digest[crypto_hash_sha256_BYTES];
    char text[2 * sizeof(digest) + 1];

    crypto_hash_sha256_final(&half->hash, digest);
    sodium_bin2hex(text, sizeof(text), digest, sizeof(digest));
    (void)p2p_stream_write(stream, text, sizeof(text) - 1); /* an empty queue has room for it */
    p2p_stream_close(stream);
    free(half);
}

static void half_readable(struct p2p_stream *stream, void *user)
{
    uint8_t in[16384];
    int64_t count;

    while ((count = p2p_stream_read(stream, in, sizeof(in))) > 0)
        crypto_hash_sha256_update(&((struct half *)user)->hash, in, (unsigned long long)count);
    if (count == P2P_ERR_STREAM_EOF)
        half_end(stream, user);
}

static void free_failed(struct p2p_stream *stream, void *user, int error)
{
    (void)error;
    free(user);
    p2p_stream_close(stream);
}

static void reset_readable(struct p2p_stream *stream, void *user)
{
    char in[256];
    int64_t count;

    (void)user;
    while ((count = p2p_stream_read(stream, in, sizeof(in))) > 0) {
        if (memchr(in, '\n', (size_t)count) != NULL) {
            p2p_stream_reset(stream, RESET_CODE);
            return;
        }
    }
    if (count != P2P_ERR_CALL_AGAIN)
        p2p_stream_close(stream);
}

static const struct p2p_stream_callbacks half_callbacks = {half_opened, half_readable, NULL, free_failed};
static const struct p2p_stream_callbacks reset_callbacks = {NULL, reset_readable, NULL, free_failed};

int served_register(struct p2p_node *node)
{
    int error = p2p_node_handle(node, "/half/1.0.0", 0, &half_callbacks, NULL);

    return error != 0 ? error : p2p_node_handle(node, "/reset/1.0.0", 0, &reset_callbacks, NULL);
}
