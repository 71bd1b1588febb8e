#include "crypto/wire.h"

#include <assert.h>
#include <string.h>

#include "chorus/p2p.h"

/* The next `length` bytes, or NULL and a failed reader. */
static const uint8_t *take(struct wire_reader *reader, uint64_t length)
{
    const uint8_t *bytes;

    if (reader->failed || length > reader->length - reader->offset) {
        reader->failed = true;
        return NULL;
    }
    if (reader->data == NULL)
        return NULL; /* an empty reader: nothing may be added to its pointer */
    bytes = reader->data + reader->offset;
    reader->offset += (size_t)length;
    return bytes;
}

static uint64_t read_big_endian(struct wire_reader *reader, size_t bytes)
{
    const uint8_t *data = take(reader, bytes);
    uint64_t value = 0;

    for (size_t i = 0; data != NULL && i < bytes; i++)
        value = value << 8 | data[i];
    return value;
}

uint8_t wire_read_u8(struct wire_reader *reader)
{
    return (uint8_t)read_big_endian(reader, 1);
}

uint16_t wire_read_u16(struct wire_reader *reader)
{
    return (uint16_t)read_big_endian(reader, 2);
}

uint32_t wire_read_u32(struct wire_reader *reader)
{
    return (uint32_t)read_big_endian(reader, 4);
}

uint64_t wire_read_u64(struct wire_reader *reader)
{
    return read_big_endian(reader, 8);
}

struct wire_span wire_read_span(struct wire_reader *reader, uint64_t length)
{
    const uint8_t *data = take(reader, length);
    struct wire_span span = {data, reader->failed ? 0 : (size_t)length};

    return span;
}

/* Little-endian groups of 7 bits.  Returns the bytes taken, 0 when the data
 * ends inside the varint, -1 when it is no varint. */
static int parse_varint(uint64_t *value, const uint8_t *data, size_t length, int bytes_max)
{
    uint64_t sum = 0;

    for (int i = 0; i < bytes_max; i++) {
        if ((size_t)i >= length)
            return 0;
        if (i == 9 && data[i] > 1)
            return -1; /* beyond 64 bits */
        sum |= (uint64_t)(data[i] & 0x7f) << (7 * i);
        if (data[i] < 0x80) {
            *value = sum;
            return i + 1;
        }
    }
    return -1;
}

/* As above, and refuses a last byte of 0, which a shorter encoding would not have. */
static int parse_varint_strict(uint64_t *value, const uint8_t *data, size_t length)
{
    int taken = parse_varint(value, data, length, WIRE_UVARINT_BYTES_MAX);

    return taken > 1 && data[taken - 1] == 0 ? -1 : taken;
}

static uint64_t finish_varint(struct wire_reader *reader, uint64_t value, int taken)
{
    if (taken <= 0) {
        reader->failed = true;
        return 0;
    }
    reader->offset += (size_t)taken;
    return value;
}

uint64_t wire_read_varint(struct wire_reader *reader)
{
    uint64_t value = 0;
    int taken;

    if (wire_left(reader) == 0)
        return finish_varint(reader, 0, 0);
    taken = parse_varint(&value, reader->data + reader->offset, wire_left(reader), WIRE_VARINT_BYTES_MAX);
    return finish_varint(reader, value, taken);
}

uint64_t wire_read_varint_strict(struct wire_reader *reader)
{
    uint64_t value = 0;
    int taken;

    if (wire_left(reader) == 0)
        return finish_varint(reader, 0, 0);
    taken = parse_varint_strict(&value, reader->data + reader->offset, wire_left(reader));
    return finish_varint(reader, value, taken);
}

struct wire_span wire_read_prefixed(struct wire_reader *reader)
{
    uint64_t length = wire_read_varint_strict(reader);

    return wire_read_span(reader, length);
}

/* Room for `length` bytes, or NULL and a failed writer. */
static uint8_t *make_room(struct wire_writer *writer, size_t length)
{
    uint8_t *room;

    if (writer->failed || length > writer->capacity - writer->length) {
        writer->failed = true;
        return NULL;
    }
    room = writer->data + writer->length;
    writer->length += length;
    return room;
}

static void write_big_endian(struct wire_writer *writer, uint64_t value, size_t bytes)
{
    uint8_t *room = make_room(writer, bytes);

    for (size_t i = 0; room != NULL && i < bytes; i++)
        room[i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
}

void wire_write_u8(struct wire_writer *writer, uint8_t value)
{
    write_big_endian(writer, value, 1);
}

void wire_write_u16(struct wire_writer *writer, uint16_t value)
{
    write_big_endian(writer, value, 2);
}

void wire_write_u32(struct wire_writer *writer, uint32_t value)
{
    write_big_endian(writer, value, 4);
}

void wire_write_u64(struct wire_writer *writer, uint64_t value)
{
    write_big_endian(writer, value, 8);
}

void wire_write_bytes(struct wire_writer *writer, const uint8_t *data, size_t length)
{
    uint8_t *room;

    if (length == 0)
        return;
    room = make_room(writer, length);
    if (room != NULL)
        memcpy(room, data, length);
}

static void put_varint(uint8_t *out, uint64_t value)
{
    while (value >= 0x80) {
        *out++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *out = (uint8_t)value;
}

size_t wire_varint_bytes(uint64_t value)
{
    size_t bytes = 1;

    while (value >= 0x80) {
        value >>= 7;
        bytes++;
    }
    return bytes;
}

void wire_write_varint(struct wire_writer *writer, uint64_t value)
{
    uint8_t *room = make_room(writer, wire_varint_bytes(value));

    if (room != NULL)
        put_varint(room, value);
}

void wire_write_prefixed(struct wire_writer *writer, const uint8_t *data, size_t length)
{
    wire_write_varint(writer, length);
    wire_write_bytes(writer, data, length);
}

/* Protobuf's fixed-width integers are little-endian. */
static uint64_t read_little_endian(struct wire_reader *reader, size_t bytes)
{
    const uint8_t *data = take(reader, bytes);
    uint64_t value = 0;

    for (size_t i = bytes; data != NULL && i > 0; i--)
        value = value << 8 | data[i - 1];
    return value;
}

bool wire_field_next(struct wire_reader *reader, struct wire_field *field)
{
    struct wire_field next = {0, WIRE_TYPE_VARINT, 0, {NULL, 0}};
    uint64_t tag;

    if (wire_left(reader) == 0)
        return false;
    tag = wire_read_varint(reader);
    if (tag >> 3 == 0 || tag >> 3 > WIRE_FIELD_NUMBER_MAX)
        reader->failed = true;
    next.number = (uint32_t)(tag >> 3);
    switch (tag & 7) {
    case WIRE_TYPE_VARINT:
        next.value = wire_read_varint(reader);
        break;
    case WIRE_TYPE_FIXED64:
        next.value = read_little_endian(reader, 8);
        break;
    case WIRE_TYPE_BYTES:
        next.bytes = wire_read_span(reader, wire_read_varint(reader));
        break;
    case WIRE_TYPE_FIXED32:
        next.value = read_little_endian(reader, 4);
        break;
    default:
        reader->failed = true;
    }
    if (reader->failed)
        return false;
    next.type = (enum wire_type)(tag & 7);
    *field = next;
    return true;
}

static void write_tag(struct wire_writer *writer, uint32_t number, enum wire_type type)
{
    assert(number > 0 && number <= WIRE_FIELD_NUMBER_MAX);
    wire_write_varint(writer, (uint64_t)number << 3 | type);
}

void wire_field_varint(struct wire_writer *writer, uint32_t number, uint64_t value)
{
    write_tag(writer, number, WIRE_TYPE_VARINT);
    wire_write_varint(writer, value);
}

void wire_field_fixed64(struct wire_writer *writer, uint32_t number, uint64_t value)
{
    uint8_t *room;

    write_tag(writer, number, WIRE_TYPE_FIXED64);
    room = make_room(writer, 8);
    for (int i = 0; room != NULL && i < 8; i++)
        room[i] = (uint8_t)(value >> (8 * i));
}

void wire_field_bytes(struct wire_writer *writer, uint32_t number, const uint8_t *data, size_t length)
{
    write_tag(writer, number, WIRE_TYPE_BYTES);
    wire_write_prefixed(writer, data, length);
}

void wire_field_string(struct wire_writer *writer, uint32_t number, const char *text)
{
    wire_field_bytes(writer, number, (const uint8_t *)text, strlen(text));
}

size_t wire_field_bytes_size(uint32_t number, size_t length)
{
    return wire_varint_bytes((uint64_t)number << 3) + wire_varint_bytes(length) + length;
}

size_t wire_field_varint_size(uint32_t number, uint64_t value)
{
    return wire_varint_bytes((uint64_t)number << 3) + wire_varint_bytes(value);
}

size_t wire_nested_begin(struct wire_writer *writer, uint32_t number)
{
    write_tag(writer, number, WIRE_TYPE_BYTES);
    return wire_delimited_begin(writer);
}

/* One byte is kept for the length; a longer one moves the message when it is known. */
size_t wire_delimited_begin(struct wire_writer *writer)
{
    make_room(writer, 1);
    return writer->length;
}

void wire_delimited_end(struct wire_writer *writer, size_t mark)
{
    size_t body, prefix;

    if (writer->failed)
        return;
    assert(mark > 0 && mark <= writer->length);
    body = writer->length - mark;
    prefix = wire_varint_bytes(body);
    if (make_room(writer, prefix - 1) == NULL)
        return;
    memmove(writer->data + mark - 1 + prefix, writer->data + mark, body);
    put_varint(writer->data + mark - 1, body);
}

int wire_delimited_peek(struct wire_span *body, size_t *total,
                        const uint8_t *data, size_t length, size_t max)
{
    uint64_t says = 0;
    int prefix = parse_varint_strict(&says, data, length);

    if (prefix < 0)
        return P2P_ERR_CALL_MALFORMED;
    if (prefix == 0)
        return P2P_ERR_CALL_AGAIN;
    if (says > max)
        return P2P_ERR_STREAM_LIMIT;
    if (says > length - (size_t)prefix)
        return P2P_ERR_CALL_AGAIN;
    body->data = data + prefix;
    body->length = (size_t)says;
    *total = (size_t)prefix + (size_t)says;
    return 0;
}
