#include "crypto/base.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include "chorus/p2p.h"

static const char alphabet_16[] = "0123456789abcdef";
static const char alphabet_32[] = "abcdefghijklmnopqrstuvwxyz234567";
static const char alphabet_36[] = "0123456789abcdefghijklmnopqrstuvwxyz";
static const char alphabet_58[] = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
static const char alphabet_64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char alphabet_64_url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* bits > 0: that many bits a character; bits 0: the bytes are one number in base `radix`. */
static const struct encoding {
    const char *alphabet;
    unsigned bits;
    unsigned radix;
    bool fold_case;
    bool pads;
    char multibase;
} encodings[] = {
    [BASE_16] = {alphabet_16, 4, 16, true, false, 'f'},
    [BASE_32] = {alphabet_32, 5, 32, false, false, 'b'},
    [BASE_36] = {alphabet_36, 0, 36, true, false, 'k'},
    [BASE_58] = {alphabet_58, 0, 58, false, false, 'z'},
    [BASE_64] = {alphabet_64, 6, 64, false, true, 'm'},
    [BASE_64_URL] = {alphabet_64_url, 6, 64, false, false, 'u'},
};

enum {
    ENCODINGS = sizeof(encodings) / sizeof(encodings[0]),
    RADIX_DIGITS_MIN = 5, /* 58^5 < 2^32 */
    RADIX_DIGITS_MAX = 6, /* 36^6 < 2^32 */
};

/* The value of a character, or -1. */
static int digit_of(const struct encoding *encoding, char c)
{
    const char *at;

    if (encoding->fold_case && c >= 'A' && c <= 'Z')
        c = (char)(c - 'A' + 'a');
    at = c == '\0' ? NULL : strchr(encoding->alphabet, c);
    return at == NULL ? -1 : (int)(at - encoding->alphabet);
}

static size_t bits_text_length(const struct encoding *encoding, size_t data_length)
{
    size_t length = (data_length * 8 + encoding->bits - 1) / encoding->bits;

    return encoding->pads ? (length + 3) / 4 * 4 : length;
}

/* `text` has room for all of it. */
static void encode_bits(char *text, const struct encoding *encoding, const uint8_t *data, size_t data_length)
{
    size_t padded = bits_text_length(encoding, data_length);
    size_t at = 0;
    uint32_t pending = 0;
    unsigned have = 0;

    for (size_t i = 0; i < data_length; i++) {
        pending = pending << 8 | data[i];
        have += 8;
        for (; have >= encoding->bits; have -= encoding->bits)
            text[at++] = encoding->alphabet[(pending >> (have - encoding->bits)) & (encoding->radix - 1)];
    }
    if (have > 0)
        text[at++] = encoding->alphabet[(pending << (encoding->bits - have)) & (encoding->radix - 1)];
    while (at < padded)
        text[at++] = '=';
    text[at] = '\0';
}

static int decode_bits(uint8_t *data, size_t capacity, size_t *length, const struct encoding *encoding,
                       const char *text, size_t text_length)
{
    uint32_t pending = 0;
    unsigned have = 0;
    size_t at = 0;

    if (encoding->pads && text_length > 0 && text_length % 4 == 0) {
        for (int i = 0; i < 2 && text[text_length - 1] == '='; i++)
            text_length--;
    }
    for (size_t i = 0; i < text_length; i++) {
        int digit = digit_of(encoding, text[i]);

        if (digit < 0)
            return P2P_ERR_CALL_MALFORMED;
        pending = pending << encoding->bits | (uint32_t)digit;
        have += encoding->bits;
        if (have < 8)
            continue;
        have -= 8;
        if (at == capacity)
            return P2P_ERR_CALL_SHORT;
        data[at++] = (uint8_t)(pending >> have);
    }
    if (have >= encoding->bits || (pending & ((1u << have) - 1)) != 0)
        return P2P_ERR_CALL_MALFORMED; /* a character too many, or stray bits in the last */
    *length = at;
    return 0;
}

/* A number in limbs of `digits` characters each, the least significant first. */
struct limbs {
    uint32_t values[(BASE_RADIX_TEXT_MAX + RADIX_DIGITS_MIN - 1) / RADIX_DIGITS_MIN];
    size_t used;
    uint32_t base;   /* radix to the power of `digits` */
    unsigned digits; /* as many as 32 bits hold */
};

static void limbs_init(struct limbs *limbs, unsigned radix)
{
    limbs->used = 0;
    limbs->digits = 0;
    for (limbs->base = 1; (uint64_t)limbs->base * radix <= UINT32_MAX; limbs->digits++)
        limbs->base *= radix;
    assert(limbs->digits >= RADIX_DIGITS_MIN);
}

/* number = number * 2^bits + word; `bits` is at most 32. */
static void limbs_append(struct limbs *limbs, uint32_t word, unsigned bits)
{
    uint64_t carry = word;

    for (size_t i = 0; i < limbs->used; i++) {
        carry += (uint64_t)limbs->values[i] << bits;
        limbs->values[i] = (uint32_t)(carry % limbs->base);
        carry /= limbs->base;
    }
    for (; carry > 0; carry /= limbs->base)
        limbs->values[limbs->used++] = (uint32_t)(carry % limbs->base);
}

static void limbs_from_bytes(struct limbs *limbs, const uint8_t *data, size_t length)
{
    while (length > 0) {
        unsigned count = length % 4 != 0 ? length % 4 : 4;
        uint32_t word = 0;

        for (unsigned i = 0; i < count; i++)
            word = word << 8 | data[i];
        limbs_append(limbs, word, count * 8);
        data += count;
        length -= count;
    }
}

/* Digits, the least significant first, without zeros in front of the number.  Returns how many. */
static size_t limbs_digits(uint8_t *digits, const struct limbs *limbs, unsigned radix)
{
    size_t count = 0;

    for (size_t i = 0; i < limbs->used; i++) {
        uint32_t value = limbs->values[i];

        for (unsigned digit = 0; digit < limbs->digits; digit++, value /= radix)
            digits[count++] = (uint8_t)(value % radix);
    }
    while (count > 0 && digits[count - 1] == 0)
        count--;
    return count;
}

/* Zero bytes in front are not part of the number: each is written as the alphabet's first character. */
static int encode_radix(char *text, size_t capacity, size_t *length, const struct encoding *encoding,
                        const uint8_t *data, size_t data_length)
{
    struct limbs limbs;
    uint8_t digits[sizeof(limbs.values) / sizeof(limbs.values[0]) * RADIX_DIGITS_MAX];
    size_t used, zeros = 0;

    if (data_length > BASE_RADIX_BYTES_MAX)
        return P2P_ERR_CALL_INVALID;
    while (zeros < data_length && data[zeros] == 0)
        zeros++;
    limbs_init(&limbs, encoding->radix);
    limbs_from_bytes(&limbs, data + zeros, data_length - zeros);
    used = limbs_digits(digits, &limbs, encoding->radix);
    if (zeros + used + 1 > capacity)
        return P2P_ERR_CALL_SHORT;
    memset(text, encoding->alphabet[0], zeros);
    for (size_t i = 0; i < used; i++)
        text[zeros + i] = encoding->alphabet[digits[used - 1 - i]];
    text[zeros + used] = '\0';
    *length = zeros + used;
    return 0;
}

/* number = number * from + digit, in base 256, the least significant first. */
static size_t multiply_add(uint8_t *number, size_t used, unsigned from, unsigned digit)
{
    unsigned carry = digit;

    for (size_t i = 0; i < used; i++) {
        carry += number[i] * from;
        number[i] = (uint8_t)carry;
        carry >>= 8;
    }
    for (; carry > 0; carry >>= 8)
        number[used++] = (uint8_t)carry;
    return used;
}

static int decode_radix(uint8_t *data, size_t capacity, size_t *length, const struct encoding *encoding,
                        const char *text, size_t text_length)
{
    uint8_t number[BASE_RADIX_TEXT_MAX];
    size_t used = 0, zeros = 0;

    if (text_length > BASE_RADIX_TEXT_MAX)
        return P2P_ERR_CALL_MALFORMED;
    while (zeros < text_length && text[zeros] == encoding->alphabet[0])
        zeros++;
    for (size_t i = zeros; i < text_length; i++) {
        int digit = digit_of(encoding, text[i]);

        if (digit < 0)
            return P2P_ERR_CALL_MALFORMED;
        used = multiply_add(number, used, encoding->radix, (unsigned)digit);
    }
    if (zeros + used > BASE_RADIX_BYTES_MAX)
        return P2P_ERR_CALL_MALFORMED;
    if (zeros + used > capacity)
        return P2P_ERR_CALL_SHORT;
    memset(data, 0, zeros);
    for (size_t i = 0; i < used; i++)
        data[zeros + i] = number[used - 1 - i];
    *length = zeros + used;
    return 0;
}

size_t base_text_size(enum base_kind kind, size_t data_length)
{
    assert((size_t)kind < ENCODINGS);
    if (encodings[kind].bits > 0)
        return bits_text_length(&encodings[kind], data_length) + 1;
    /* 8 / log2(36) < 1.55, and a zero byte takes one character. */
    return data_length * 155 / 100 + 2;
}

int base_encode(char *text, size_t capacity, size_t *length,
                enum base_kind kind, const uint8_t *data, size_t data_length)
{
    const struct encoding *encoding = &encodings[kind];
    size_t text_length;
    int error = 0;

    assert((size_t)kind < ENCODINGS);
    if (encoding->bits == 0) {
        error = encode_radix(text, capacity, &text_length, encoding, data, data_length);
    } else {
        text_length = bits_text_length(encoding, data_length);
        if (text_length >= capacity)
            return P2P_ERR_CALL_SHORT;
        encode_bits(text, encoding, data, data_length);
    }
    if (error == 0 && length != NULL)
        *length = text_length;
    return error;
}

int base_decode(uint8_t *data, size_t capacity, size_t *length,
                enum base_kind kind, const char *text, size_t text_length)
{
    assert((size_t)kind < ENCODINGS);
    if (encodings[kind].bits == 0)
        return decode_radix(data, capacity, length, &encodings[kind], text, text_length);
    return decode_bits(data, capacity, length, &encodings[kind], text, text_length);
}

int base_decode_multibase(uint8_t *data, size_t capacity, size_t *length,
                          const char *text, size_t text_length)
{
    if (text_length == 0)
        return P2P_ERR_CALL_MALFORMED;
    for (size_t i = 0; i < ENCODINGS; i++) {
        if (encodings[i].multibase == text[0])
            return base_decode(data, capacity, length, (enum base_kind)i, text + 1, text_length - 1);
    }
    return P2P_ERR_CALL_UNSUPPORTED;
}
