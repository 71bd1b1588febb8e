#include "crypto/envelope.h"

#include <string.h>

#include "chorus/p2p.h"

/* RFC 0002, message Envelope */
enum {
    FIELD_PUBLIC_KEY = 1,
    FIELD_PAYLOAD_TYPE = 2,
    FIELD_PAYLOAD = 3,
    FIELD_SIGNATURE = 5,
};

enum {
    SIGNED_BYTES_MAX = ENVELOPE_DOMAIN_BYTES_MAX + ENVELOPE_PAYLOAD_TYPE_BYTES_MAX +
                       ENVELOPE_PAYLOAD_BYTES_MAX + 3 * WIRE_UVARINT_BYTES_MAX,
};

/* What is signed: each part with its length in front.  False when one is over its bound. */
static bool write_signed(struct wire_writer *writer, const char *domain, struct wire_span payload_type,
                         struct wire_span payload)
{
    size_t domain_length = strlen(domain);

    if (domain_length > ENVELOPE_DOMAIN_BYTES_MAX || payload_type.length > ENVELOPE_PAYLOAD_TYPE_BYTES_MAX ||
        payload.length > ENVELOPE_PAYLOAD_BYTES_MAX)
        return false;
    wire_write_prefixed(writer, (const uint8_t *)domain, domain_length);
    wire_write_prefixed(writer, payload_type.data, payload_type.length);
    wire_write_prefixed(writer, payload.data, payload.length);
    return !writer->failed;
}

int envelope_seal(uint8_t *out, size_t capacity, size_t *length, const struct key *key, const char *domain,
                  const uint8_t *payload_type, size_t payload_type_length,
                  const uint8_t *payload, size_t payload_length)
{
    uint8_t text[SIGNED_BYTES_MAX], signature[KEY_SIGNATURE_BYTES_MAX];
    struct wire_writer signed_text = wire_writer_of(text, sizeof(text));
    struct wire_writer writer = wire_writer_of(out, capacity);
    struct wire_span type = {payload_type, payload_type_length}, content = {payload, payload_length};
    size_t signature_length;
    int error;

    if (!write_signed(&signed_text, domain, type, content))
        return P2P_ERR_CALL_INVALID;
    error = key_sign(key, signature, &signature_length, text, signed_text.length);
    if (error != 0)
        return error;
    wire_field_bytes(&writer, FIELD_PUBLIC_KEY, key_public(key)->bytes, key_public(key)->length);
    wire_field_bytes(&writer, FIELD_PAYLOAD_TYPE, payload_type, payload_type_length);
    wire_field_bytes(&writer, FIELD_PAYLOAD, payload, payload_length);
    wire_field_bytes(&writer, FIELD_SIGNATURE, signature, signature_length);
    if (writer.failed)
        return P2P_ERR_CALL_SHORT;
    *length = writer.length;
    return 0;
}

struct parts {
    struct wire_span public_key;
    struct wire_span payload_type;
    struct wire_span payload;
    struct wire_span signature;
};

static bool parse(struct parts *parts, const uint8_t *data, size_t length)
{
    struct wire_reader reader = wire_reader_of(data, length);
    struct wire_field field;

    memset(parts, 0, sizeof(*parts));
    while (wire_field_next(&reader, &field)) {
        if (field.type != WIRE_TYPE_BYTES)
            continue;
        if (field.number == FIELD_PUBLIC_KEY)
            parts->public_key = field.bytes;
        else if (field.number == FIELD_PAYLOAD_TYPE)
            parts->payload_type = field.bytes;
        else if (field.number == FIELD_PAYLOAD)
            parts->payload = field.bytes;
        else if (field.number == FIELD_SIGNATURE)
            parts->signature = field.bytes;
    }
    return !reader.failed;
}

int envelope_open(struct envelope *envelope, const uint8_t *data, size_t length, const char *domain,
                  const uint8_t *payload_type, size_t payload_type_length)
{
    uint8_t text[SIGNED_BYTES_MAX];
    struct wire_writer signed_text = wire_writer_of(text, sizeof(text));
    struct parts parts;
    int error;

    if (length > ENVELOPE_BYTES_MAX || !parse(&parts, data, length))
        return P2P_ERR_CALL_MALFORMED;
    if (parts.payload_type.length != payload_type_length ||
        (payload_type_length > 0 && memcmp(parts.payload_type.data, payload_type, payload_type_length) != 0))
        return P2P_ERR_CALL_UNSUPPORTED;
    error = public_key_from_protobuf(&envelope->signer, parts.public_key.data, parts.public_key.length);
    if (error != 0)
        return error;
    if (!write_signed(&signed_text, domain, parts.payload_type, parts.payload))
        return P2P_ERR_CALL_MALFORMED;
    error = public_key_verify(&envelope->signer, text, signed_text.length,
                              parts.signature.data, parts.signature.length);
    if (error == 0)
        envelope->payload = parts.payload;
    return error;
}
