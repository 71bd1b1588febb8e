#include "net/multiaddr.h"

#include <assert.h>
#include <string.h>

#include "chorus/p2p.h"
#include "net/multiaddr_protocol.h"

/* The component at the reader, its value not yet looked at.  NULL on failure:
 * the reader has failed, or the code is unknown. */
static const struct multiaddr_protocol *read_component(struct multiaddr_component *component,
                                                       struct wire_reader *reader)
{
    component->offset = reader->offset;
    const struct multiaddr_protocol *protocol = multiaddr_protocol_by_code(wire_read_varint_strict(reader));
    if (!protocol || reader->failed)
        return NULL;
    component->code = protocol->code;
    component->value = (struct wire_span){NULL, 0};
    if (protocol->size == MULTIADDR_PROTOCOL_PREFIXED)
        component->value = wire_read_prefixed(reader);
    else if (protocol->size > 0)
        component->value = wire_read_span(reader, (uint64_t)protocol->size);
    return reader->failed ? NULL : protocol;
}

int multiaddr_from_bytes(struct multiaddr *m, const uint8_t *data, size_t length)
{
    if (length == 0)
        return P2P_ERR_CALL_MALFORMED;
    if (length > MULTIADDR_BYTES_MAX)
        return P2P_ERR_CALL_UNSUPPORTED;
    struct wire_reader reader = wire_reader_of(data, length);
    while (!wire_done(&reader)) {
        struct multiaddr_component component;
        const struct multiaddr_protocol *protocol = read_component(&component, &reader);
        if (!protocol)
            return reader.failed ? P2P_ERR_CALL_MALFORMED : P2P_ERR_CALL_UNSUPPORTED;
        if (!multiaddr_protocol_takes(protocol, component.value))
            return P2P_ERR_CALL_MALFORMED;
        if (protocol->value == MULTIADDR_VALUE_PATH && !wire_done(&reader))
            return P2P_ERR_CALL_MALFORMED;
    }
    memcpy(m->bytes, data, length);
    m->length = (uint16_t)length;
    return 0;
}

bool multiaddr_next(const struct multiaddr *m, size_t *offset, struct multiaddr_component *component)
{
    assert(m->length <= MULTIADDR_BYTES_MAX);
    assert(*offset <= m->length);
    if (*offset == m->length)
        return false;
    struct wire_reader reader = wire_reader_of(m->bytes, m->length);
    reader.offset = *offset;
    const struct multiaddr_protocol *protocol = read_component(component, &reader);
    assert(protocol); /* only valid addresses are made */
    *offset = reader.offset;
    return true;
}

bool multiaddr_find(const struct multiaddr *m, enum multiaddr_code code,
                    struct multiaddr_component *component)
{
    size_t offset = 0;
    while (multiaddr_next(m, &offset, component)) {
        if (component->code == code)
            return true;
    }
    return false;
}

bool multiaddr_is_relayed(const struct multiaddr *m)
{
    struct multiaddr_component component;
    return multiaddr_find(m, MULTIADDR_P2P_CIRCUIT, &component);
}

/* The last component; false when there is none. */
static bool last_component(const struct multiaddr *m, struct multiaddr_component *component)
{
    size_t offset = 0;
    while (multiaddr_next(m, &offset, component))
        ;
    return m->length > 0;
}

int multiaddr_append(struct multiaddr *m, enum multiaddr_code code, const uint8_t *value, size_t length)
{
    const struct multiaddr_protocol *protocol = multiaddr_protocol_by_code((uint64_t)code);
    assert(protocol);
    if (length > MULTIADDR_BYTES_MAX)
        return P2P_ERR_CALL_SHORT;
    struct multiaddr_component last;
    if (!multiaddr_protocol_takes(protocol, (struct wire_span){value, length}) ||
        (last_component(m, &last) && last.code == MULTIADDR_UNIX))
        return P2P_ERR_CALL_MALFORMED;
    struct wire_writer writer = wire_writer_of(m->bytes, MULTIADDR_BYTES_MAX);
    writer.length = m->length;
    wire_write_varint(&writer, (uint64_t)code);
    if (protocol->size == MULTIADDR_PROTOCOL_PREFIXED)
        wire_write_prefixed(&writer, value, length);
    else if (length > 0)
        wire_write_bytes(&writer, value, length);
    if (writer.failed)
        return P2P_ERR_CALL_SHORT;
    m->length = (uint16_t)writer.length;
    return 0;
}

int multiaddr_peer_id(const struct multiaddr *m, struct peer_id *id)
{
    struct multiaddr_component last;
    if (!last_component(m, &last) || last.code != MULTIADDR_P2P)
        return P2P_ERR_CALL_NOT_FOUND;
    return peer_id_from_bytes(id, last.value.data, last.value.length);
}

int multiaddr_with_peer_id(struct multiaddr *m, const struct peer_id *id)
{
    assert(!peer_id_is_none(id));
    struct multiaddr_component last;
    if (!last_component(m, &last) || last.code != MULTIADDR_P2P)
        return multiaddr_append(m, MULTIADDR_P2P, id->bytes, id->length);
    bool same = last.value.length == id->length && memcmp(last.value.data, id->bytes, id->length) == 0;
    return same ? 0 : P2P_ERR_CALL_EXISTS;
}

void multiaddr_without_peer_id(struct multiaddr *m)
{
    struct multiaddr_component last;
    if (last_component(m, &last) && last.code == MULTIADDR_P2P)
        m->length = (uint16_t)last.offset;
}
