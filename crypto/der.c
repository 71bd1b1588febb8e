#include "crypto/der.h"

#include <string.h>

static const struct wire_span nothing;

/* X.690, 10.1: the definite form, in as few bytes as possible. */
static size_t read_length(struct wire_reader *reader)
{
    uint8_t first = wire_read_u8(reader);
    size_t length = first;

    if (first < 0x80)
        return length;
    if (first == 0x81) {
        length = wire_read_u8(reader);
        reader->failed = reader->failed || length < 0x80;
    } else if (first == 0x82) {
        length = wire_read_u16(reader);
        reader->failed = reader->failed || length < 0x100;
    } else {
        reader->failed = true;
    }
    return length;
}

bool der_is(const struct wire_reader *reader, uint8_t tag)
{
    return wire_left(reader) > 0 && reader->data[reader->offset] == tag;
}

struct wire_span der_read(struct wire_reader *reader, uint8_t tag)
{
    if (wire_read_u8(reader) != tag)
        reader->failed = true;
    return wire_read_span(reader, read_length(reader));
}

struct wire_reader der_enter(struct wire_reader *reader, uint8_t tag)
{
    struct wire_span contents = der_read(reader, tag);
    struct wire_reader inside = wire_reader_of(contents.data, contents.length);

    inside.failed = reader->failed;
    return inside;
}

struct wire_span der_read_positive(struct wire_reader *reader)
{
    struct wire_span number = der_read(reader, DER_INTEGER);

    if (number.length == 0 || (number.data[0] & 0x80) != 0)
        goto refuse; /* none, or negative */
    if (number.data[0] != 0)
        return number;
    if (number.length == 1 || (number.data[1] & 0x80) == 0)
        goto refuse; /* zero, or a zero in front that is not needed */
    number.data++;
    number.length--;
    return number;

refuse:
    reader->failed = true;
    return nothing;
}

struct wire_span der_read_bits(struct wire_reader *reader)
{
    struct wire_span bits = der_read(reader, DER_BIT_STRING);

    if (bits.length == 0 || bits.data[0] != 0) {
        reader->failed = true;
        return nothing;
    }
    bits.data++;
    bits.length--;
    return bits;
}

void der_expect(struct wire_reader *reader, const void *bytes, size_t length)
{
    struct wire_span found = wire_read_span(reader, length);

    if (reader->failed || memcmp(found.data, bytes, length) != 0)
        reader->failed = true;
}
