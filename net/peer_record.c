#include "net/peer_record.h"

#include <assert.h>
#include <string.h>

#include "chorus/p2p.h"

enum { FIELD_PEER_ID = 1, FIELD_SEQ = 2, FIELD_ADDRESSES = 3, FIELD_MULTIADDR = 1 };
enum { FIELD_ENVELOPE_TYPE = 2, FIELD_ENVELOPE_PAYLOAD = 3 };

/* RFC 0003: the multicodec 0x0301 as two raw bytes, not as a varint. */
static const uint8_t payload_type[] = {0x03, 0x01};

/* Bytes that the envelope takes around its payload, at most. */
static size_t envelope_overhead(const struct public_key *key)
{
    enum { DER_SIGNATURE_BYTES_MAX = 72, LENGTH_BYTES_MAX = 3 };
    size_t signature = key->type == KEY_RSA ? key->length : DER_SIGNATURE_BYTES_MAX;
    return 4 * (1 + LENGTH_BYTES_MAX) + key->length + sizeof(payload_type) + signature;
}

static void write_addr(struct wire_writer *writer, const struct multiaddr *addr)
{
    size_t mark = wire_nested_begin(writer, FIELD_ADDRESSES);
    wire_field_bytes(writer, FIELD_MULTIADDR, addr->bytes, addr->length);
    wire_delimited_end(writer, mark);
}

static size_t addr_size(const struct multiaddr *addr)
{
    return wire_field_bytes_size(FIELD_ADDRESSES, wire_field_bytes_size(FIELD_MULTIADDR, addr->length));
}

int peer_record_seal(uint8_t *out, size_t capacity, size_t *length, const struct key *key, uint64_t seq,
                     const struct multiaddr *addrs, size_t addr_count)
{
    uint8_t bytes[PEER_RECORD_BYTES_MAX];
    size_t overhead = envelope_overhead(key_public(key));
    if (capacity <= overhead)
        return P2P_ERR_CALL_SHORT;
    size_t room = capacity - overhead < sizeof(bytes) ? capacity - overhead : sizeof(bytes);
    struct wire_writer writer = wire_writer_of(bytes, room);
    struct peer_id id;
    peer_id_from_public_key(&id, key_public(key));
    wire_field_bytes(&writer, FIELD_PEER_ID, id.bytes, id.length);
    wire_field_varint(&writer, FIELD_SEQ, seq);
    if (writer.failed)
        return P2P_ERR_CALL_SHORT;
    for (size_t i = 0; i < addr_count && i < PEER_RECORD_ADDRS_MAX; i++) {
        if (addrs[i].length == 0)
            continue; /* others read an empty address as malformed */
        if (addr_size(&addrs[i]) > room - writer.length)
            break;
        write_addr(&writer, &addrs[i]);
    }
    assert(!writer.failed);
    return envelope_seal(out, capacity, length, key, PEER_RECORD_DOMAIN, payload_type, sizeof(payload_type),
                         bytes, writer.length);
}

static int parse(struct peer_record *record, struct wire_span payload)
{
    struct wire_reader reader = wire_reader_of(payload.data, payload.length);
    struct wire_span id = {NULL, 0};
    struct wire_field field;
    record->seq = 0;
    record->payload = payload;
    while (wire_field_next(&reader, &field)) {
        if (field.number == FIELD_PEER_ID && field.type == WIRE_TYPE_BYTES)
            id = field.bytes;
        else if (field.number == FIELD_SEQ && field.type == WIRE_TYPE_VARINT)
            record->seq = field.value;
    }
    if (reader.failed)
        return P2P_ERR_CALL_MALFORMED;
    return peer_id_from_bytes(&record->peer, id.data, id.length);
}

int peer_record_open(struct peer_record *record, const uint8_t *data, size_t length)
{
    struct envelope envelope;
    struct peer_record parsed;
    int error = envelope_open(&envelope, data, length, PEER_RECORD_DOMAIN,
                              payload_type, sizeof(payload_type));
    if (error == 0)
        error = parse(&parsed, envelope.payload);
    if (error != 0)
        return error;
    if (!peer_id_matches_key(&parsed.peer, &envelope.signer))
        return P2P_ERR_CALL_CRYPTO;
    *record = parsed;
    return 0;
}

int peer_record_peek(struct peer_record *record, const uint8_t *data, size_t length)
{
    struct wire_reader reader = wire_reader_of(data, length);
    struct wire_span type = {NULL, 0}, payload = {NULL, 0};
    struct wire_field field;
    struct peer_record parsed;
    while (wire_field_next(&reader, &field)) {
        if (field.number == FIELD_ENVELOPE_TYPE && field.type == WIRE_TYPE_BYTES)
            type = field.bytes;
        else if (field.number == FIELD_ENVELOPE_PAYLOAD && field.type == WIRE_TYPE_BYTES)
            payload = field.bytes;
    }
    if (reader.failed)
        return P2P_ERR_CALL_MALFORMED;
    if (type.length != sizeof(payload_type) || memcmp(type.data, payload_type, sizeof(payload_type)) != 0)
        return P2P_ERR_CALL_UNSUPPORTED;
    int error = parse(&parsed, payload);
    if (error == 0)
        *record = parsed;
    return error;
}

/* The multiaddr of one AddressInfo; {NULL, 0} when it has none. */
static struct wire_span multiaddr_of(struct wire_span info)
{
    struct wire_reader reader = wire_reader_of(info.data, info.length);
    struct wire_span bytes = {NULL, 0};
    struct wire_field field;
    while (wire_field_next(&reader, &field)) {
        if (field.number == FIELD_MULTIADDR && field.type == WIRE_TYPE_BYTES)
            bytes = field.bytes;
    }
    return bytes;
}

bool peer_record_next_bytes(const struct peer_record *record, size_t *offset, struct wire_span *bytes)
{
    struct wire_reader reader = wire_reader_of(record->payload.data, record->payload.length);
    struct wire_field field;
    reader.offset = *offset;
    while (wire_field_next(&reader, &field)) {
        if (field.number != FIELD_ADDRESSES || field.type != WIRE_TYPE_BYTES)
            continue;
        *bytes = multiaddr_of(field.bytes);
        *offset = reader.offset;
        return true;
    }
    *offset = record->payload.length;
    return false;
}

bool peer_record_next(const struct peer_record *record, size_t *offset, struct multiaddr *addr)
{
    struct wire_span bytes;
    while (peer_record_next_bytes(record, offset, &bytes)) {
        if (multiaddr_from_bytes(addr, bytes.data, bytes.length) == 0)
            return true;
    }
    return false;
}
