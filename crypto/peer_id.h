#ifndef CRYPTO_PEER_ID_H
#define CRYPTO_PEER_ID_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "crypto/key.h"

/* Peer ids (libp2p specs, peer-ids/peer-ids.md, "Peer Ids"): the identity
 * multihash of a public key's protobuf of up to 42 bytes, else its sha2-256. */

enum {
    PEER_ID_INLINE_KEY_BYTES_MAX = 42, /* spec; longer keys are hashed */
    PEER_ID_BYTES_MAX = 39,            /* 2 + 37, secp256k1: the longest of the keys that are not hashed */
    PEER_ID_TEXT_SIZE = 80,            /* any text form with its NUL: base32 CID of 41 bytes has 67 */
    PEER_ID_SHORT_SIZE = 9,            /* the short form with its NUL */
};

/* The multihash, zero-padded, so that the whole struct is a table key and
 * compares by memcmp.  Length 0 is "no peer id". */
struct peer_id {
    uint8_t length;
    uint8_t bytes[PEER_ID_BYTES_MAX];
};

static_assert(sizeof(struct peer_id) == 40, "a table key of 40 bytes");

static inline bool peer_id_equal(const struct peer_id *a, const struct peer_id *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

/* < 0, 0, > 0: the order of the bytes, for sorting. */
static inline int peer_id_compare(const struct peer_id *a, const struct peer_id *b)
{
    return memcmp(a, b, sizeof(*a));
}

static inline bool peer_id_is_none(const struct peer_id *id)
{
    return id->length == 0;
}

/* The id of a key. */
void peer_id_from_public_key(struct peer_id *id, const struct public_key *key);

/* From multihash bytes, as in the value of /p2p or in messages.  An identity
 * multihash must hold a public key in canonical form (of secp256k1 the form
 * only: that its point is on the curve shows when the key is used); the only
 * hash is sha2-256.  Returns 0 or P2P_ERR_CALL_MALFORMED; `id` is untouched on error. */
int peer_id_from_bytes(struct peer_id *id, const uint8_t *data, size_t length);

/* From text of either form: base58btc ("12D3Koo...", "Qm...") or CIDv1 with
 * codec libp2p-key in base32, base36, base58 or base16 ("b...", "k...", "z...", "f...").
 * Returns 0 or P2P_ERR_CALL_MALFORMED; `id` is untouched on error. */
int peer_id_from_text(struct peer_id *id, const char *text, size_t length);

/* base58btc, the form we print.  `text` has PEER_ID_TEXT_SIZE bytes.  Returns
 * the length without the NUL; an empty string for no peer id. */
size_t peer_id_to_text(const struct peer_id *id, char *text);

/* CIDv1 in base32 ("bafz..."), and in base36 ("k51..."), sized the same. */
size_t peer_id_to_cid(const struct peer_id *id, char *text);
size_t peer_id_to_cid36(const struct peer_id *id, char *text);

/* For logs: the last 8 characters of the base58 form.  `text` has PEER_ID_SHORT_SIZE bytes. */
void peer_id_to_short(const struct peer_id *id, char *text);

/* The key inside an identity id.  Returns 0, P2P_ERR_CALL_NOT_FOUND for a hashed
 * one, P2P_ERR_CALL_MALFORMED for one that is no key after all. */
int peer_id_public_key(const struct peer_id *id, struct public_key *key);

/* True when `id` is the id of `key`. */
bool peer_id_matches_key(const struct peer_id *id, const struct public_key *key);

#endif
