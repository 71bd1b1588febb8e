#ifndef CRYPTO_WIRE_H
#define CRYPTO_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Cursors over bytes: big-endian integers, varints, protobuf fields.
 *
 * Both cursors fail for good: after the first read beyond the end (or write
 * beyond the capacity) `failed` is set, reads yield 0 and writes do nothing.
 * Decode a whole message, then look at `failed` once.  Nothing is copied and
 * nothing allocated; a span points into the reader's bytes. */

enum {
    WIRE_VARINT_BYTES_MAX = 10,         /* protobuf encoding: 64 bits in groups of 7 */
    WIRE_UVARINT_BYTES_MAX = 9,         /* multiformats unsigned-varint: 63 bits */
    WIRE_FIELD_NUMBER_MAX = 536870911,  /* protobuf: 2^29 - 1 */
};

struct wire_span {
    const uint8_t *data;
    size_t length;
};

struct wire_reader {
    const uint8_t *data;
    size_t length;
    size_t offset;
    bool failed;
};

struct wire_writer {
    uint8_t *data;
    size_t capacity;
    size_t length;
    bool failed;
};

/* A reader of `length` bytes; `data` may be NULL when length is 0. */
static inline struct wire_reader wire_reader_of(const uint8_t *data, size_t length)
{
    struct wire_reader reader = {data, length, 0, false};
    return reader;
}

static inline struct wire_writer wire_writer_of(uint8_t *data, size_t capacity)
{
    struct wire_writer writer = {data, capacity, 0, false};
    return writer;
}

/* Bytes not yet read; 0 after a failure. */
static inline size_t wire_left(const struct wire_reader *reader)
{
    return reader->failed ? 0 : reader->length - reader->offset;
}

/* True when everything was read and nothing failed. */
static inline bool wire_done(const struct wire_reader *reader)
{
    return !reader->failed && reader->offset == reader->length;
}

/* Big-endian integers. */
uint8_t wire_read_u8(struct wire_reader *reader);
uint16_t wire_read_u16(struct wire_reader *reader);
uint32_t wire_read_u32(struct wire_reader *reader);
uint64_t wire_read_u64(struct wire_reader *reader);

/* The next `length` bytes as a span of the reader's own; {NULL, 0} on failure. */
struct wire_span wire_read_span(struct wire_reader *reader, uint64_t length);

/* A protobuf varint: at most 10 bytes, must fit 64 bits; longer encodings than
 * needed are accepted, as protobuf does. */
uint64_t wire_read_varint(struct wire_reader *reader);

/* A multiformats unsigned varint: at most 9 bytes and minimally encoded, as
 * its spec demands; anything else is a failure. */
uint64_t wire_read_varint_strict(struct wire_reader *reader);

/* A strict varint length followed by that many bytes, as a span. */
struct wire_span wire_read_prefixed(struct wire_reader *reader);

void wire_write_u8(struct wire_writer *writer, uint8_t value);
void wire_write_u16(struct wire_writer *writer, uint16_t value);
void wire_write_u32(struct wire_writer *writer, uint32_t value);
void wire_write_u64(struct wire_writer *writer, uint64_t value);
void wire_write_bytes(struct wire_writer *writer, const uint8_t *data, size_t length);

/* Minimal encoding always, so it serves protobuf and multiformats. */
void wire_write_varint(struct wire_writer *writer, uint64_t value);

/* A varint length, then the bytes. */
void wire_write_prefixed(struct wire_writer *writer, const uint8_t *data, size_t length);

/* Bytes that wire_write_varint would take: 1 to 10. */
size_t wire_varint_bytes(uint64_t value);

/* ---- protobuf fields (protobuf.dev, "Encoding") ---- */

enum wire_type {
    WIRE_TYPE_VARINT = 0,
    WIRE_TYPE_FIXED64 = 1,
    WIRE_TYPE_BYTES = 2,
    WIRE_TYPE_FIXED32 = 5,
};

struct wire_field {
    uint32_t number;
    enum wire_type type;
    uint64_t value;         /* VARINT, FIXED64, FIXED32; else 0 */
    struct wire_span bytes; /* BYTES; else {NULL, 0} */
};

/* Reads the next field.  Returns true and fills `field`; false at the end of
 * the reader or on a failure (`reader->failed` tells which).  Groups (types 3
 * and 4), unknown types, field number 0 and lengths beyond the reader fail.
 * Fields of unknown number are yielded like any other: skip them. */
bool wire_field_next(struct wire_reader *reader, struct wire_field *field);

void wire_field_varint(struct wire_writer *writer, uint32_t number, uint64_t value);
void wire_field_fixed64(struct wire_writer *writer, uint32_t number, uint64_t value);
void wire_field_bytes(struct wire_writer *writer, uint32_t number, const uint8_t *data, size_t length);
void wire_field_string(struct wire_writer *writer, uint32_t number, const char *text);

/* Bytes that wire_field_bytes (and wire_field_string) would take. */
size_t wire_field_bytes_size(uint32_t number, size_t length);
/* Bytes that wire_field_varint would take. */
size_t wire_field_varint_size(uint32_t number, uint64_t value);

/* A nested message written in place, its length filled in afterwards:
 *     size_t mark = wire_nested_begin(&w, 2);
 *     wire_field_varint(&w, 1, x);
 *     wire_delimited_end(&w, mark);
 * May be nested. */
size_t wire_nested_begin(struct wire_writer *writer, uint32_t number);

/* ---- messages delimited by a strict varint length ---- */

/* The same for a message with a length in front and no field number. */
size_t wire_delimited_begin(struct wire_writer *writer);
void wire_delimited_end(struct wire_writer *writer, size_t mark);

/* Looks for a whole delimited message at the start of a partial buffer.
 * Returns 0 and the message's bytes in `body`, and in `total` the bytes it
 * takes with its length; P2P_ERR_CALL_AGAIN when more bytes are needed;
 * P2P_ERR_CALL_MALFORMED for a bad varint; P2P_ERR_STREAM_LIMIT when it says
 * more than `max` bytes (known before they have arrived).  Outputs are
 * untouched on error. */
int wire_delimited_peek(struct wire_span *body, size_t *total,
                        const uint8_t *data, size_t length, size_t max);

#endif
