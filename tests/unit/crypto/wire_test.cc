#include <gtest/gtest.h>

extern "C" {
#include "chorus/p2p.h"
#include "crypto/wire.h"
}
#include "support.h"

static struct wire_reader reader_of(const Bytes &bytes)
{
    return wire_reader_of(bytes.data(), bytes.size());
}

TEST(WireReader, ReadsBigEndianIntegers)
{
    Bytes bytes = hex("010203040506070809" "0a0b0c0d0e0f");
    struct wire_reader reader = reader_of(bytes);

    EXPECT_EQ(wire_read_u8(&reader), 0x01u);
    EXPECT_EQ(wire_read_u16(&reader), 0x0203u);
    EXPECT_EQ(wire_read_u32(&reader), 0x04050607u);
    EXPECT_EQ(wire_read_u64(&reader), 0x08090a0b0c0d0e0fu);
    EXPECT_TRUE(wire_done(&reader));
}

TEST(WireReader, FailsForGoodBeyondTheEnd)
{
    Bytes bytes = hex("0102");
    struct wire_reader reader = reader_of(bytes);

    EXPECT_EQ(wire_read_u32(&reader), 0u);
    EXPECT_TRUE(reader.failed);
    EXPECT_EQ(wire_left(&reader), 0u);
    EXPECT_EQ(wire_read_u8(&reader), 0u);
    EXPECT_FALSE(wire_done(&reader));
}

TEST(WireReader, AnEmptyReaderMayHaveNoBytesAtAll)
{
    struct wire_reader reader = wire_reader_of(nullptr, 0);

    EXPECT_EQ(wire_read_span(&reader, 0).length, 0u);
    EXPECT_TRUE(wire_done(&reader));
    EXPECT_EQ(wire_read_varint(&reader), 0u);
    EXPECT_TRUE(reader.failed);
}

TEST(WireReader, RefusesSpansBeyondTheEndWithoutOverflow)
{
    Bytes bytes = hex("010203");

    for (uint64_t length : {(uint64_t)4, (uint64_t)UINT32_MAX, UINT64_MAX, UINT64_MAX - 1}) {
        struct wire_reader reader = reader_of(bytes);

        wire_read_u8(&reader);
        EXPECT_EQ(wire_read_span(&reader, length).data, nullptr);
        EXPECT_TRUE(reader.failed);
    }
}

TEST(WireVarint, ReadsWhatTheSpecsGiveAsExamples)
{
    /* multiformats/unsigned-varint README */
    const struct {
        uint64_t value;
        const char *bytes;
    } rows[] = {{1, "01"},       {127, "7f"},        {128, "8001"},     {255, "ff01"},
                {300, "ac02"},   {16384, "808001"},  {0, "00"},         {0x7fffffffffffffff, "ffffffffffffffff7f"}};

    for (const auto &row : rows) {
        Bytes bytes = hex(row.bytes), out(10);
        struct wire_reader strict = reader_of(bytes), loose = reader_of(bytes);
        struct wire_writer writer = wire_writer_of(out.data(), out.size());

        EXPECT_EQ(wire_read_varint_strict(&strict), row.value);
        EXPECT_TRUE(wire_done(&strict));
        EXPECT_EQ(wire_read_varint(&loose), row.value);
        EXPECT_TRUE(wire_done(&loose));
        wire_write_varint(&writer, row.value);
        EXPECT_EQ(to_hex(out.data(), writer.length), row.bytes);
        EXPECT_EQ(wire_varint_bytes(row.value), bytes.size());
    }
}

TEST(WireVarint, StrictRefusesLongerEncodingsThanNeeded)
{
    for (const char *text : {"8000", "808000", "ff00", "81808000", "808080808080808000"}) {
        Bytes bytes = hex(text);
        struct wire_reader strict = reader_of(bytes), loose = reader_of(bytes);

        wire_read_varint_strict(&strict);
        EXPECT_TRUE(strict.failed) << text;
        wire_read_varint(&loose);
        EXPECT_TRUE(wire_done(&loose)) << text;
    }
}

TEST(WireVarint, StrictHasNineBytesAndProtobufTen)
{
    Bytes ten = hex("ffffffffffffffffff01"), eleven = hex("8080808080808080808001");
    Bytes too_much = hex("ffffffffffffffffff02");
    struct wire_reader strict = reader_of(ten), loose = reader_of(ten);
    struct wire_reader longer = reader_of(eleven), larger = reader_of(too_much);

    wire_read_varint_strict(&strict);
    EXPECT_TRUE(strict.failed);
    EXPECT_EQ(wire_read_varint(&loose), UINT64_MAX);
    wire_read_varint(&longer);
    EXPECT_TRUE(longer.failed);
    wire_read_varint(&larger);
    EXPECT_TRUE(larger.failed);
}

TEST(WireVarint, FailsWhenCutAnywhere)
{
    Bytes bytes = hex("ffffffffffffffffff01");

    for (size_t cut = 0; cut < bytes.size(); cut++) {
        struct wire_reader reader = wire_reader_of(bytes.data(), cut);

        wire_read_varint(&reader);
        EXPECT_TRUE(reader.failed) << cut;
        EXPECT_EQ(reader.offset, 0u);
    }
}

TEST(WireWriter, FailsForGoodAtItsCapacityAndLeavesTheRestAlone)
{
    uint8_t out[4] = {9, 9, 9, 9};
    struct wire_writer writer = wire_writer_of(out, 3);

    wire_write_u16(&writer, 0x0102);
    wire_write_u16(&writer, 0x0304);
    EXPECT_TRUE(writer.failed);
    wire_write_u8(&writer, 5);
    EXPECT_EQ(writer.length, 2u);
    EXPECT_EQ(out[2], 9);
    EXPECT_EQ(out[3], 9);
}

TEST(WireField, WritesAndReadsEveryType)
{
    uint8_t out[64];
    struct wire_writer writer = wire_writer_of(out, sizeof(out));
    struct wire_field field;

    wire_field_varint(&writer, 1, 300);
    wire_field_bytes(&writer, 2, (const uint8_t *)"abc", 3);
    wire_field_string(&writer, 3, "");
    wire_field_fixed64(&writer, WIRE_FIELD_NUMBER_MAX, 0x0102030405060708);
    ASSERT_FALSE(writer.failed);
    EXPECT_EQ(writer.length, wire_field_varint_size(1, 300) + wire_field_bytes_size(2, 3) +
                                 wire_field_bytes_size(3, 0) + 5 + 8);

    struct wire_reader reader = wire_reader_of(out, writer.length);
    ASSERT_TRUE(wire_field_next(&reader, &field));
    EXPECT_EQ(field.number, 1u);
    EXPECT_EQ(field.type, WIRE_TYPE_VARINT);
    EXPECT_EQ(field.value, 300u);
    ASSERT_TRUE(wire_field_next(&reader, &field));
    EXPECT_EQ(field.number, 2u);
    EXPECT_EQ(std::string((const char *)field.bytes.data, field.bytes.length), "abc");
    ASSERT_TRUE(wire_field_next(&reader, &field));
    EXPECT_EQ(field.number, 3u);
    EXPECT_EQ(field.bytes.length, 0u);
    ASSERT_TRUE(wire_field_next(&reader, &field));
    EXPECT_EQ(field.number, (uint32_t)WIRE_FIELD_NUMBER_MAX);
    EXPECT_EQ(field.value, 0x0102030405060708u);
    EXPECT_FALSE(wire_field_next(&reader, &field));
    EXPECT_TRUE(wire_done(&reader));
}

TEST(WireField, ReadsFixed32AsLittleEndian)
{
    Bytes bytes = hex("0d01000000");
    struct wire_reader reader = reader_of(bytes);
    struct wire_field field;

    ASSERT_TRUE(wire_field_next(&reader, &field));
    EXPECT_EQ(field.type, WIRE_TYPE_FIXED32);
    EXPECT_EQ(field.value, 1u);
}

TEST(WireField, RefusesWhatIsNoField)
{
    const char *bad[] = {
        "0b",                     /* start of a group */
        "0c",                     /* end of a group */
        "0e00", "0f00",           /* types 6 and 7 */
        "0001",                   /* field number 0 */
        "808080801001",           /* field number 2^29 */
        "08",                     /* no value */
        "0880",                   /* half a value */
        "0a05aabb",               /* longer than there is */
        "0affffffffffffffffff01", /* much longer */
        "0901020304",             /* half a fixed64 */
        "0d0102",                 /* half a fixed32 */
        "80",                     /* half a tag */
    };

    for (const char *text : bad) {
        Bytes bytes = hex(text);
        struct wire_reader reader = reader_of(bytes);
        struct wire_field field = {77, WIRE_TYPE_VARINT, 0, {nullptr, 0}};

        EXPECT_FALSE(wire_field_next(&reader, &field)) << text;
        EXPECT_TRUE(reader.failed) << text;
        EXPECT_EQ(field.number, 77u) << "left alone";
    }
}

TEST(WireNested, MovesTheMessageWhenItsLengthTakesMoreThanAByte)
{
    for (size_t size : {(size_t)0, (size_t)1, (size_t)120, (size_t)124, (size_t)125, (size_t)126, (size_t)127,
                        (size_t)128, (size_t)16378, (size_t)16379, (size_t)16384, (size_t)20000}) {
        Bytes payload = Random(size).bytes(size), out(size + 16), expect(size + 16), inner(size + 8);
        struct wire_writer writer = wire_writer_of(out.data(), out.size());
        struct wire_writer plain = wire_writer_of(expect.data(), expect.size());
        struct wire_writer body = wire_writer_of(inner.data(), inner.size());
        size_t mark = wire_nested_begin(&writer, 4);

        wire_field_bytes(&writer, 1, payload.data(), payload.size());
        wire_delimited_end(&writer, mark);
        wire_field_bytes(&body, 1, payload.data(), payload.size());
        wire_field_bytes(&plain, 4, inner.data(), body.length);
        ASSERT_FALSE(writer.failed);
        ASSERT_FALSE(plain.failed);
        EXPECT_EQ(to_hex(out.data(), writer.length), to_hex(expect.data(), plain.length)) << size;
    }
}

TEST(WireNested, FailsWithoutRoomForTheLength)
{
    for (size_t capacity = 0; capacity < 132; capacity++) {
        Bytes out(capacity + 1), payload(127);
        struct wire_writer writer = wire_writer_of(out.data(), capacity);
        size_t mark = wire_delimited_begin(&writer);

        wire_write_bytes(&writer, payload.data(), payload.size());
        wire_write_u8(&writer, 1);
        wire_delimited_end(&writer, mark);
        EXPECT_EQ(writer.failed, capacity < 130) << capacity;
    }
}

TEST(WireDelimited, SaysWhatIsMissing)
{
    Bytes message = concat({hex("ac02"), Bytes(300, 7)});
    struct wire_span body = {nullptr, 0};
    size_t total = 0;

    for (size_t cut = 0; cut < message.size(); cut++)
        EXPECT_EQ(wire_delimited_peek(&body, &total, message.data(), cut, 300), P2P_ERR_CALL_AGAIN);
    EXPECT_EQ(body.data, nullptr);
    message.push_back(8);
    ASSERT_EQ(wire_delimited_peek(&body, &total, message.data(), message.size(), 300), 0);
    EXPECT_EQ(body.data, message.data() + 2);
    EXPECT_EQ(body.length, 300u);
    EXPECT_EQ(total, 302u);
}

TEST(WireDelimited, RefusesTooMuchBeforeItArrives)
{
    Bytes prefix = hex("ad02"), huge = hex("ffffffffffffffff7f");
    Bytes not_minimal = hex("8000"), endless = hex("80808080808080808080");
    struct wire_span body;
    size_t total;

    EXPECT_EQ(wire_delimited_peek(&body, &total, prefix.data(), 2, 300), P2P_ERR_STREAM_LIMIT);
    EXPECT_EQ(wire_delimited_peek(&body, &total, huge.data(), huge.size(), SIZE_MAX), P2P_ERR_CALL_AGAIN);
    EXPECT_EQ(wire_delimited_peek(&body, &total, not_minimal.data(), 2, 300), P2P_ERR_CALL_MALFORMED);
    EXPECT_EQ(wire_delimited_peek(&body, &total, endless.data(), 9, 300), P2P_ERR_CALL_MALFORMED);
    EXPECT_EQ(wire_delimited_peek(&body, &total, endless.data(), 8, 300), P2P_ERR_CALL_AGAIN);
}

TEST(WireDelimited, AnEmptyMessageIsWhole)
{
    uint8_t zero = 0;
    struct wire_span body;
    size_t total;

    ASSERT_EQ(wire_delimited_peek(&body, &total, &zero, 1, 0), 0);
    EXPECT_EQ(body.length, 0u);
    EXPECT_EQ(total, 1u);
}
