#include <gtest/gtest.h>

extern "C" {
#include "chorus/p2p.h"
#include "crypto/base.h"
}
#include "support.h"

static std::string encode(enum base_kind kind, const Bytes &data)
{
    std::string text(base_text_size(kind, data.size()), 'x');
    size_t length = 0;

    EXPECT_EQ(base_encode(&text[0], text.size(), &length, kind, data.data(), data.size()), 0);
    EXPECT_EQ(text[length], '\0');
    text.resize(length);
    return text;
}

static int decode(Bytes *data, enum base_kind kind, const std::string &text, size_t capacity = 256)
{
    size_t length = 0;
    int error;

    data->assign(capacity, 0xee);
    error = base_decode(data->data(), capacity, &length, kind, text.data(), text.size());
    data->resize(length);
    return error;
}

static const enum base_kind all_kinds[] = {BASE_16, BASE_32, BASE_36, BASE_58, BASE_64, BASE_64_URL};

TEST(Base, WritesThePublishedExamples)
{
    /* multiformats/multibase tests (basic, leading zeros), RFC 4648 section 10 */
    const struct {
        enum base_kind kind;
        const char *data, *text;
    } rows[] = {
        {BASE_16, "796573206d616e692021", "796573206d616e692021"},
        {BASE_32, "796573206d616e692021", "pfsxgidnmfxgsibb"},
        {BASE_36, "796573206d616e692021", "2lcpzo5yikidynfl"},
        {BASE_58, "796573206d616e692021", "7paNL19xttacUY"},
        {BASE_64, "796573206d616e692021", "eWVzIG1hbmkgIQ=="},
        {BASE_64_URL, "796573206d616e692021", "eWVzIG1hbmkgIQ"},
        {BASE_36, "00796573206d616e692021", "02lcpzo5yikidynfl"},
        {BASE_58, "00796573206d616e692021", "17paNL19xttacUY"},
        {BASE_58, "0000796573206d616e692021", "117paNL19xttacUY"},
        {BASE_32, "0000796573206d616e692021", "aaahszltebwwc3tjeaqq"},
        {BASE_64, "", ""}, {BASE_64, "66", "Zg=="}, {BASE_64, "666f", "Zm8="}, {BASE_64, "666f6f", "Zm9v"},
        {BASE_64, "fbff", "+/8="}, {BASE_64_URL, "fbff", "-_8"},
        {BASE_58, "", ""}, {BASE_58, "00", "1"}, {BASE_58, "000000", "111"}, {BASE_58, "39", "z"},
        {BASE_58, "3a", "21"},
    };

    for (const auto &row : rows) {
        Bytes data;

        EXPECT_EQ(encode(row.kind, hex(row.data)), row.text);
        EXPECT_EQ(decode(&data, row.kind, row.text), 0) << row.text;
        EXPECT_EQ(to_hex(data), row.data);
    }
}

TEST(Base, ReadsBackEveryLengthItWrites)
{
    Random random(1);

    for (enum base_kind kind : all_kinds) {
        for (size_t length = 0; length <= BASE_RADIX_BYTES_MAX; length++) {
            Bytes data = random.bytes(length), back;

            if (length > 2 && length % 3 == 0)
                data[0] = data[1] = 0;
            if (length % 5 == 0)
                data.assign(length, 0xff);
            if (length % 7 == 0)
                data.assign(length, 0);
            EXPECT_EQ(decode(&back, kind, encode(kind, data)), 0);
            EXPECT_EQ(to_hex(back), to_hex(data));
        }
    }
}

TEST(Base, KeepsToItsCapacity)
{
    for (enum base_kind kind : all_kinds) {
        Bytes data = Random(2).bytes(20), back;
        std::string text = encode(kind, data);

        for (size_t capacity = 0; capacity <= text.size() + 1; capacity++) {
            std::string out(text.size() + 2, '#');
            int error = base_encode(&out[0], capacity, nullptr, kind, data.data(), data.size());

            EXPECT_EQ(error, capacity == text.size() + 1 ? 0 : P2P_ERR_CALL_SHORT);
            EXPECT_EQ(out[capacity], '#');
        }
        for (size_t capacity = 0; capacity <= data.size(); capacity++)
            EXPECT_EQ(decode(&back, kind, text, capacity), capacity == data.size() ? 0 : P2P_ERR_CALL_SHORT);
    }
}

TEST(Base, RefusesCharactersOfNoAlphabet)
{
    const struct {
        enum base_kind kind;
        const char *text;
    } rows[] = {
        {BASE_16, "0g"},     {BASE_16, "0 "},    {BASE_32, "mA"},     {BASE_32, "m1"},    {BASE_32, "my======"},
        {BASE_36, "a-"},     {BASE_58, "0"},     {BASE_58, "O"},      {BASE_58, "I"},     {BASE_58, "l"},
        {BASE_58, " 1"},     {BASE_58, "1\n"},   {BASE_64, "Z-=="},   {BASE_64_URL, "Zg=="},
        {BASE_64_URL, "+/8"}, {BASE_64, "Zg=a"}, {BASE_64, "===="},
    };

    for (const auto &row : rows) {
        Bytes data;

        EXPECT_EQ(decode(&data, row.kind, row.text), P2P_ERR_CALL_MALFORMED) << row.text;
    }
    for (enum base_kind kind : all_kinds) {
        Bytes data;

        EXPECT_EQ(decode(&data, kind, std::string("\0", 1)), P2P_ERR_CALL_MALFORMED);
        EXPECT_EQ(decode(&data, kind, "\xff\x80"), P2P_ERR_CALL_MALFORMED);
    }
}

TEST(Base, RefusesStrayBitsAndOddLengths)
{
    const struct {
        enum base_kind kind;
        const char *text;
    } rows[] = {
        {BASE_16, "0"}, {BASE_16, "012"}, {BASE_32, "mz"}, {BASE_32, "m"}, {BASE_32, "mzx"},
        {BASE_64, "Zh=="}, {BASE_64, "Z"}, {BASE_64_URL, "Zh"}, {BASE_64_URL, "Zm9vZ"},
    };

    for (const auto &row : rows) {
        Bytes data;

        EXPECT_EQ(decode(&data, row.kind, row.text), P2P_ERR_CALL_MALFORMED) << row.text;
    }
}

TEST(Base, ReadsBase64WithoutItsPadding)
{
    Bytes data;

    EXPECT_EQ(decode(&data, BASE_64, "Zg"), 0);
    EXPECT_EQ(to_hex(data), "66");
}

TEST(Base, BoundsWhatIsQuadratic)
{
    Bytes data(BASE_RADIX_BYTES_MAX + 1, 1), back;
    char text[512];

    EXPECT_EQ(base_encode(text, sizeof(text), nullptr, BASE_58, data.data(), data.size()), P2P_ERR_CALL_INVALID);
    EXPECT_EQ(decode(&back, BASE_58, std::string(BASE_RADIX_TEXT_MAX + 1, '2')), P2P_ERR_CALL_MALFORMED);
    EXPECT_EQ(decode(&back, BASE_58, std::string(BASE_RADIX_TEXT_MAX, 'z')), P2P_ERR_CALL_MALFORMED);
    EXPECT_EQ(decode(&back, BASE_36, std::string(BASE_RADIX_TEXT_MAX, 'z')), P2P_ERR_CALL_MALFORMED);
    EXPECT_EQ(decode(&back, BASE_58, std::string(BASE_RADIX_TEXT_MAX, '1')), P2P_ERR_CALL_MALFORMED);
}

TEST(Base, FollowsTheMultibasePrefix)
{
    const std::pair<char, enum base_kind> names[] = {{'f', BASE_16}, {'b', BASE_32}, {'k', BASE_36},
                                                     {'z', BASE_58}, {'m', BASE_64}, {'u', BASE_64_URL}};
    uint8_t data[8];
    size_t length;

    for (const auto &name : names) {
        std::string text = name.first + encode(name.second, hex("796573"));

        EXPECT_EQ(base_decode_multibase(data, sizeof(data), &length, text.data(), text.size()), 0);
        EXPECT_EQ(to_hex(data, length), "796573");
    }
    EXPECT_EQ(base_decode_multibase(data, 8, &length, "", 0), P2P_ERR_CALL_MALFORMED);
    EXPECT_EQ(base_decode_multibase(data, 8, &length, "Q1", 2), P2P_ERR_CALL_UNSUPPORTED);
    EXPECT_EQ(base_decode_multibase(data, 8, &length, "\0", 1), P2P_ERR_CALL_UNSUPPORTED);
}
