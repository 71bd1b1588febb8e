#include "crypto/noise.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "chorus/p2p.h"
#include "crypto/crypto.h"
#include "crypto/noise_xx.h"
#include "crypto/verified.h"
#include "crypto/wire.h"

/* noise/README.md, "The libp2p Handshake Payload" */
enum {
    PAYLOAD_IDENTITY_KEY = 1,
    PAYLOAD_IDENTITY_SIG = 2,
    PAYLOAD_EXTENSIONS = 4,
    EXTENSIONS_STREAM_MUXERS = 2,
};

static const char signature_prefix[] = "noise-libp2p-static-key:";

enum {
    PREFIX_BYTES = sizeof(signature_prefix) - 1,
    SIGNED_BYTES = PREFIX_BYTES + NOISE_XX_KEY_BYTES,
    IDENTITY_BYTES_MAX = KEY_PUBLIC_BYTES_MAX + KEY_SIGNATURE_BYTES_MAX + 8, /* two fields */
    OVERHEAD_BYTES_MAX = 32 + 48 + AEAD_TAG_BYTES, /* of message 2 */
    PAYLOAD_BYTES_MAX = NOISE_HANDSHAKE_MESSAGE_BYTES_MAX - OVERHEAD_BYTES_MAX,
};

static_assert(IDENTITY_BYTES_MAX < PAYLOAD_BYTES_MAX - 1024, "extensions need room beside an identity");

struct noise_static {
    uint8_t secret[NOISE_XX_KEY_BYTES];
    uint8_t public_half[NOISE_XX_KEY_BYTES];
    uint16_t identity_length;
    uint8_t identity[IDENTITY_BYTES_MAX]; /* identity_key and identity_sig, as fields */
};

struct noise_handshake {
    struct noise_xx xx;
    const struct noise_static *statics;
    struct verified *verified; /* or NULL */
    const char *const *muxers;
    size_t muxer_count;
    const char *muxer; /* one of muxers, or NULL */
    int error;         /* sticky */
    bool split;
    struct peer_id expected; /* or none */
    struct peer_id remote_id;
    struct public_key remote_key;
    size_t in_length; /* of the message that is arriving, with its length in front */
    uint8_t in[NOISE_HEADER_BYTES + NOISE_HANDSHAKE_MESSAGE_BYTES_MAX];
};

static void write_signed(uint8_t out[SIGNED_BYTES], const uint8_t static_public[NOISE_XX_KEY_BYTES])
{
    memcpy(out, signature_prefix, PREFIX_BYTES);
    memcpy(out + PREFIX_BYTES, static_public, NOISE_XX_KEY_BYTES);
}

/* ---- the node's static pair ---- */

static int write_identity(struct noise_static *statics, const struct key *identity)
{
    struct wire_writer writer = wire_writer_of(statics->identity, sizeof(statics->identity));
    const struct public_key *public_key = key_public(identity);
    uint8_t text[SIGNED_BYTES], signature[KEY_SIGNATURE_BYTES_MAX];
    size_t signature_length;
    int error;

    write_signed(text, statics->public_half);
    error = key_sign(identity, signature, &signature_length, text, sizeof(text));
    if (error != 0)
        return error;
    wire_field_bytes(&writer, PAYLOAD_IDENTITY_KEY, public_key->bytes, public_key->length);
    wire_field_bytes(&writer, PAYLOAD_IDENTITY_SIG, signature, signature_length);
    assert(!writer.failed);
    statics->identity_length = (uint16_t)writer.length;
    return 0;
}

int noise_static_new(struct noise_static **statics, const struct key *identity,
                     const uint8_t seed[NOISE_SEED_BYTES])
{
    struct noise_static *made = calloc(1, sizeof(*made));
    int error;

    if (made == NULL)
        return P2P_ERR_CALL_NOMEM;
    memcpy(made->secret, seed, sizeof(made->secret));
    crypto_scalarmult_curve25519_base(made->public_half, made->secret);
    error = write_identity(made, identity);
    if (error != 0) {
        noise_static_free(made);
        return error;
    }
    *statics = made;
    return 0;
}

void noise_static_free(struct noise_static *statics)
{
    if (statics == NULL)
        return;
    crypto_wipe(statics, sizeof(*statics));
    free(statics);
}

/* ---- payloads ---- */

/* What we say of ourselves in message 2 or 3. */
static void write_payload(struct wire_writer *writer, const struct noise_handshake *handshake)
{
    size_t mark;

    wire_write_bytes(writer, handshake->statics->identity, handshake->statics->identity_length);
    if (handshake->muxer_count == 0)
        return;
    mark = wire_nested_begin(writer, PAYLOAD_EXTENSIONS);
    for (size_t i = 0; i < handshake->muxer_count; i++)
        wire_field_string(writer, EXTENSIONS_STREAM_MUXERS, handshake->muxers[i]);
    wire_delimited_end(writer, mark);
}

struct payload {
    struct wire_span key;
    struct wire_span signature;
    struct wire_span extensions;
    size_t muxer_count;
};

static bool is_muxer(const struct wire_field *field)
{
    return field->number == EXTENSIONS_STREAM_MUXERS && field->type == WIRE_TYPE_BYTES;
}

/* Unknown fields are skipped, those of webtransport among them. */
static int parse_payload(struct payload *payload, const uint8_t *data, size_t length)
{
    struct wire_reader reader = wire_reader_of(data, length), extensions;
    struct wire_field field;

    memset(payload, 0, sizeof(*payload));
    while (wire_field_next(&reader, &field)) {
        if (field.type != WIRE_TYPE_BYTES)
            continue;
        if (field.number == PAYLOAD_IDENTITY_KEY)
            payload->key = field.bytes;
        else if (field.number == PAYLOAD_IDENTITY_SIG)
            payload->signature = field.bytes;
        else if (field.number == PAYLOAD_EXTENSIONS)
            payload->extensions = field.bytes;
    }
    extensions = wire_reader_of(payload->extensions.data, payload->extensions.length);
    while (wire_field_next(&extensions, &field))
        payload->muxer_count += is_muxer(&field) ? 1 : 0;
    return reader.failed || extensions.failed ? P2P_ERR_CONN_PROTOCOL : 0;
}

/* ---- early muxer negotiation (connections/inlined-muxer-negotiation.md) ---- */

static bool same_name(struct wire_span name, const char *ours)
{
    return name.length == strlen(ours) && memcmp(name.data, ours, name.length) == 0;
}

static const char *find_ours(const struct noise_handshake *handshake, struct wire_span name)
{
    for (size_t i = 0; i < handshake->muxer_count; i++) {
        if (same_name(name, handshake->muxers[i]))
            return handshake->muxers[i];
    }
    return NULL;
}

/* Of the remote's list the entry that comes first in ours, or first in its own:
 * it is the initiator's order that counts. */
static const char *choose_muxer(const struct noise_handshake *handshake, const struct payload *payload)
{
    struct wire_reader reader = wire_reader_of(payload->extensions.data, payload->extensions.length);
    struct wire_field field;
    const char *best = NULL;
    size_t best_place = handshake->muxer_count;

    if (payload->muxer_count > NOISE_MUXERS_REMOTE_MAX)
        return NULL;
    while (wire_field_next(&reader, &field)) {
        const char *ours = is_muxer(&field) ? find_ours(handshake, field.bytes) : NULL;

        if (ours == NULL)
            continue;
        if (!handshake->xx.initiator)
            return ours;
        for (size_t place = 0; place < best_place; place++) {
            if (handshake->muxers[place] == ours) {
                best_place = place;
                best = ours;
            }
        }
    }
    return best;
}

/* ---- the handshake ---- */

struct noise_handshake *noise_handshake_new(const struct noise_static *statics, bool initiator,
                                            const struct peer_id *expected,
                                            const uint8_t ephemeral_seed[NOISE_SEED_BYTES],
                                            const char *const *muxers, size_t muxer_count)
{
    struct noise_handshake *handshake;
    uint8_t payload[PAYLOAD_BYTES_MAX];
    struct wire_writer writer = wire_writer_of(payload, sizeof(payload));

    if (muxer_count > NOISE_MUXERS_MAX)
        return NULL;
    handshake = calloc(1, sizeof(*handshake));
    if (handshake == NULL)
        return NULL;
    noise_xx_init(&handshake->xx, initiator, NULL, 0, statics->secret, statics->public_half, ephemeral_seed);
    handshake->statics = statics;
    handshake->muxers = muxers;
    handshake->muxer_count = muxer_count;
    if (expected != NULL)
        handshake->expected = *expected;
    write_payload(&writer, handshake);
    if (writer.failed) { /* names too long to be sent */
        noise_handshake_free(handshake);
        return NULL;
    }
    return handshake;
}

void noise_handshake_share(struct noise_handshake *handshake, struct verified *verified, struct x25519_pairs *pairs)
{
    handshake->verified = verified;
    handshake->xx.pairs = pairs;
}

void noise_handshake_free(struct noise_handshake *handshake)
{
    if (handshake == NULL)
        return;
    crypto_wipe(handshake, sizeof(*handshake));
    free(handshake);
}

/* Checks who signed the static key that message 2 or 3 brought. */
static int authenticate(struct noise_handshake *handshake, const struct payload *payload)
{
    struct public_key *key = &handshake->remote_key;
    uint8_t text[SIGNED_BYTES];

    if (public_key_from_protobuf(key, payload->key.data, payload->key.length) != 0)
        return P2P_ERR_CONN_AUTH;
    write_signed(text, handshake->xx.rs);
    if (verified_check(handshake->verified, key, text, sizeof(text), payload->signature.data,
                       payload->signature.length) != 0)
        return P2P_ERR_CONN_AUTH;
    peer_id_from_public_key(&handshake->remote_id, key);
    if (!peer_id_is_none(&handshake->expected) && !peer_id_equal(&handshake->expected, &handshake->remote_id))
        return P2P_ERR_CONN_PEER_ID;
    return 0;
}

static int read_message(struct noise_handshake *handshake, const uint8_t *message, size_t length)
{
    uint8_t plain[NOISE_HANDSHAKE_MESSAGE_BYTES_MAX];
    struct payload payload;
    size_t plain_length;
    int error = noise_xx_read(&handshake->xx, plain, &plain_length, message, length);

    if (error != 0 || handshake->xx.step == 1)
        return error; /* message 1 says nothing more */
    error = parse_payload(&payload, plain, plain_length);
    if (error == 0)
        error = authenticate(handshake, &payload);
    if (error == 0)
        handshake->muxer = choose_muxer(handshake, &payload);
    return error;
}

/* The length in front of the message that is arriving, once both its bytes are there. */
static size_t body_length(const struct noise_handshake *handshake)
{
    return (size_t)handshake->in[0] << 8 | handshake->in[1];
}

/* Refuses a length as soon as it is known: nobody sends us 64 KiB to hold. */
static int check_length(const struct noise_handshake *handshake)
{
    size_t length = body_length(handshake), least = noise_xx_overhead(&handshake->xx);

    if (length < least || length > NOISE_HANDSHAKE_MESSAGE_BYTES_MAX)
        return P2P_ERR_CONN_PROTOCOL;
    if (handshake->xx.step == 0 && length != least)
        return P2P_ERR_CONN_PROTOCOL; /* message 1: "the payload MUST be empty" */
    return 0;
}

/* Copies what is missing up to `goal` bytes of the message; true when they are there. */
static bool gather(struct noise_handshake *handshake, size_t goal, const uint8_t *data, size_t length,
                   size_t *taken)
{
    size_t missing = goal - handshake->in_length, left = length - *taken;
    size_t part = missing < left ? missing : left;

    if (part > 0)
        memcpy(handshake->in + handshake->in_length, data + *taken, part);
    handshake->in_length += part;
    *taken += part;
    return handshake->in_length == goal;
}

static int recv_message(struct noise_handshake *handshake, const uint8_t *data, size_t length, size_t *taken)
{
    size_t body;
    int error;

    if (handshake->in_length < NOISE_HEADER_BYTES &&
        !gather(handshake, NOISE_HEADER_BYTES, data, length, taken))
        return 0;
    error = check_length(handshake);
    if (error != 0)
        return error;
    body = body_length(handshake);
    if (!gather(handshake, NOISE_HEADER_BYTES + body, data, length, taken))
        return 0;
    handshake->in_length = 0;
    return read_message(handshake, handshake->in + NOISE_HEADER_BYTES, body);
}

int noise_handshake_recv(struct noise_handshake *handshake, const uint8_t *data, size_t length,
                         size_t *taken)
{
    *taken = 0;
    if (handshake->error != 0 || !noise_xx_reads(&handshake->xx))
        return handshake->error;
    handshake->error = recv_message(handshake, data, length, taken);
    if (handshake->error != 0)
        noise_xx_fini(&handshake->xx);
    return handshake->error;
}

int noise_handshake_send(struct noise_handshake *handshake, uint8_t *out, size_t capacity,
                         size_t *written)
{
    uint8_t payload[PAYLOAD_BYTES_MAX];
    struct wire_writer writer = wire_writer_of(payload, sizeof(payload));
    size_t length;
    int error;

    *written = 0;
    if (handshake->error != 0 || !noise_xx_writes(&handshake->xx))
        return handshake->error;
    if (handshake->xx.step > 0)
        write_payload(&writer, handshake);
    if (capacity < NOISE_HEADER_BYTES + noise_xx_overhead(&handshake->xx) + writer.length)
        return P2P_ERR_CALL_SHORT;
    error = noise_xx_write(&handshake->xx, out + NOISE_HEADER_BYTES, capacity - NOISE_HEADER_BYTES, &length,
                           payload, writer.length);
    if (error != 0) {
        handshake->error = error;
        noise_xx_fini(&handshake->xx);
        return error;
    }
    out[0] = (uint8_t)(length >> 8);
    out[1] = (uint8_t)length;
    *written = NOISE_HEADER_BYTES + length;
    return 0;
}

bool noise_handshake_done(const struct noise_handshake *handshake)
{
    return handshake->error == 0 && (handshake->split || noise_xx_done(&handshake->xx));
}

const struct public_key *noise_handshake_remote_key(const struct noise_handshake *handshake)
{
    assert(noise_handshake_done(handshake));
    return &handshake->remote_key;
}

const struct peer_id *noise_handshake_remote_id(const struct noise_handshake *handshake)
{
    assert(noise_handshake_done(handshake));
    return &handshake->remote_id;
}

const char *noise_handshake_muxer(const struct noise_handshake *handshake)
{
    assert(noise_handshake_done(handshake));
    return handshake->muxer;
}

void noise_handshake_split(struct noise_handshake *handshake, struct noise_keys *keys)
{
    assert(noise_handshake_done(handshake));
    assert(!handshake->split);
    memset(keys, 0, sizeof(*keys));
    noise_xx_split(&handshake->xx, keys->send_key, keys->recv_key);
    noise_xx_fini(&handshake->xx);
    handshake->xx.step = NOISE_XX_MESSAGES; /* nothing more to read or write */
    handshake->split = true;
}

void noise_keys_wipe(struct noise_keys *keys)
{
    crypto_wipe(keys, sizeof(*keys));
}

/* ---- records ---- */

int noise_seal(struct noise_keys *keys, struct aead_context *aead, uint8_t *out, size_t capacity,
               size_t *written, const struct aead_piece *pieces, size_t piece_count)
{
    size_t plain = 0, body;
    int error;

    for (size_t i = 0; i < piece_count; i++) {
        if (pieces[i].length > NOISE_PLAIN_BYTES_MAX - plain)
            return P2P_ERR_CALL_INVALID;
        plain += pieces[i].length;
    }
    if (capacity < noise_record_bytes(plain))
        return P2P_ERR_CALL_SHORT;
    if (keys->send_nonce == UINT64_MAX)
        return P2P_ERR_CONN_LIMIT; /* Noise, 5.1: the last nonce is reserved */
    error = aead_seal(aead, keys->send_key, keys->send_nonce, NULL, 0, out + NOISE_HEADER_BYTES,
                      pieces, piece_count);
    if (error != 0)
        return error;
    body = plain + AEAD_TAG_BYTES;
    out[0] = (uint8_t)(body >> 8);
    out[1] = (uint8_t)body;
    keys->send_nonce++;
    *written = NOISE_HEADER_BYTES + body;
    return 0;
}

int noise_open(struct noise_keys *keys, struct aead_context *aead, uint8_t *body, size_t body_length,
               size_t *plain_length)
{
    if (body_length < AEAD_TAG_BYTES || body_length > NOISE_RECORD_BODY_BYTES_MAX)
        return P2P_ERR_CONN_PROTOCOL;
    if (keys->recv_nonce == UINT64_MAX)
        return P2P_ERR_CONN_LIMIT;
    if (aead_open(aead, keys->recv_key, keys->recv_nonce, NULL, 0, body, body, body_length) != 0)
        return P2P_ERR_CONN_AUTH;
    keys->recv_nonce++;
    *plain_length = body_length - AEAD_TAG_BYTES;
    return 0;
}
