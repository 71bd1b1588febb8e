/* Cursors, protobuf fields, delimited messages, text encodings, multihashes. */
#include <assert.h>
#include <string.h>

#include "crypto/base.h"
#include "crypto/multihash.h"
#include "crypto/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fields(const uint8_t *data, size_t size)
{
    struct wire_reader reader = wire_reader_of(data, size);
    struct wire_field field;
    size_t before = 0;

    while (wire_field_next(&reader, &field)) {
        assert(reader.offset > before && reader.offset <= size);
        assert(field.number > 0 && field.number <= WIRE_FIELD_NUMBER_MAX);
        assert(field.bytes.length == 0 || field.bytes.data + field.bytes.length == data + reader.offset);
        before = reader.offset;
    }
}

/* What is written is read again, in a buffer that the input may make too small. */
static void write_and_read(const uint8_t *data, size_t size)
{
    uint8_t out[512];
    struct wire_writer writer = wire_writer_of(out, size > 0 ? data[0] * 2 : 0);
    struct wire_reader reader;
    struct wire_span body;
    size_t total, mark = wire_delimited_begin(&writer), nested = wire_nested_begin(&writer, 7);

    wire_field_bytes(&writer, 1, data, size);
    wire_field_string(&writer, 2, "text");
    wire_field_fixed64(&writer, 3, size);
    wire_delimited_end(&writer, nested);
    wire_field_varint(&writer, 300, size);
    wire_delimited_end(&writer, mark);
    wire_write_u8(&writer, 1);
    wire_write_u16(&writer, 2);
    wire_write_u32(&writer, 3);
    wire_write_u64(&writer, 4);
    assert(writer.length <= writer.capacity);
    if (writer.failed)
        return;
    assert(wire_delimited_peek(&body, &total, out, writer.length, sizeof(out)) == 0);
    fields(body.data, body.length);
    reader = wire_reader_of(out + total, writer.length - total);
    assert(wire_read_u8(&reader) == 1 && wire_read_u16(&reader) == 2 && wire_read_u32(&reader) == 3);
    assert(wire_read_u64(&reader) == 4 && wire_done(&reader));
    assert(body.length == wire_field_varint_size(300, size) +
           wire_field_bytes_size(7, wire_field_bytes_size(1, size) + wire_field_bytes_size(2, 4) + 9));
}

static void texts(const uint8_t *data, size_t size)
{
    uint8_t bytes[300], again[300];
    char text[700];
    size_t length, text_length, again_length;

    for (int kind = BASE_16; kind <= BASE_64_URL; kind++) {
        if (base_decode(bytes, sizeof(bytes), &length, (enum base_kind)kind, (const char *)data, size) != 0)
            continue;
        assert(base_text_size((enum base_kind)kind, length) <= sizeof(text));
        assert(base_encode(text, sizeof(text), &text_length, (enum base_kind)kind, bytes, length) == 0);
        assert(base_decode(again, sizeof(again), &again_length, (enum base_kind)kind, text, text_length) == 0);
        assert(again_length == length && memcmp(again, bytes, length) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wire_reader strict = wire_reader_of(data, size);
    struct multihash hash;
    struct wire_span body;
    uint8_t bytes[64];
    size_t total, length;
    uint64_t value = wire_read_varint_strict(&strict);

    assert(strict.failed || wire_varint_bytes(value) == strict.offset);
    if (wire_delimited_peek(&body, &total, data, size, 1000) == 0)
        assert(body.length <= 1000 && total <= size && body.data + body.length == data + total);
    if (multihash_parse(&hash, data, size) == 0)
        assert(hash.digest.length <= MULTIHASH_DIGEST_BYTES_MAX);
    (void)base_decode_multibase(bytes, sizeof(bytes), &length, (const char *)data, size);
    fields(data, size);
    write_and_read(data, size);
    texts(data, size);
    return 0;
}
