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

/* Of a character its value and 1, for peer ids come as text with every call; 0: none. */
static const uint8_t digits_58[128] = {
    ['1'] = 1,  ['2'] = 2,  ['3'] = 3,  ['4'] = 4,  ['5'] = 5,  ['6'] = 6,  ['7'] = 7,  ['8'] = 8,  ['9'] = 9,
    ['A'] = 10, ['B'] = 11, ['C'] = 12, ['D'] = 13, ['E'] = 14, ['F'] = 15, ['G'] = 16, ['H'] = 17, ['J'] = 18,
    ['K'] = 19, ['L'] = 20, ['M'] = 21, ['N'] = 22, ['P'] = 23, ['Q'] = 24, ['R'] = 25, ['S'] = 26, ['T'] = 27,
    ['U'] = 28, ['V'] = 29, ['W'] = 30, ['X'] = 31, ['Y'] = 32, ['Z'] = 33, ['a'] = 34, ['b'] = 35, ['c'] = 36,
    ['d'] = 37, ['e'] = 38, ['f'] = 39, ['g'] = 40, ['h'] = 41, ['i'] = 42, ['j'] = 43, ['k'] = 44, ['m'] = 45,
    ['n'] = 46, ['o'] = 47, ['p'] = 48, ['q'] = 49, ['r'] = 50, ['s'] = 51, ['t'] = 52, ['u'] = 53, ['v'] = 54,
    ['w'] = 55, ['x'] = 56, ['y'] = 57, ['z'] = 58,
};

/* bits > 0: that many bits a character; bits 0: the bytes are one number in base `radix`. */
static const struct encoding {
    const char *alphabet;
    unsigned bits;
    unsigned radix;
    bool fold_case;
    bool pads;
    char multibase;
    const uint8_t *digits; /* NULL: the alphabet is searched */
} encodings[] = {
    [BASE_16] = {alphabet_16, 4, 16, true, false, 'f', NULL},
    [BASE_32] = {alphabet_32, 5, 32, false, false, 'b', NULL},
    [BASE_36] = {alphabet_36, 0, 36, true, false, 'k', NULL},
    [BASE_58] = {alphabet_58, 0, 58, false, false, 'z', digits_58},
    [BASE_64] = {alphabet_64, 6, 64, false, true, 'm', NULL},
    [BASE_64_URL] = {alphabet_64_url, 6, 64, false, false, 'u', NULL},
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

    if (encoding->digits != NULL)
        return (unsigned char)c < sizeof(digits_58) ? encoding->digits[(unsigned char)c] - 1 : -1;
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

enum {
    /* A character has less than 6 bits. */
    RADIX_WORDS_MAX = (BASE_RADIX_TEXT_MAX * 6 + 31) / 32,
};

/* number = number * factor + value, in words, the least significant first. */
static size_t multiply_add(uint32_t *number, size_t used, uint32_t factor, uint32_t value)
{
    uint64_t carry = value;

    for (size_t i = 0; i < used; i++) {
        carry += (uint64_t)number[i] * factor;
        number[i] = (uint32_t)carry;
        carry >>= 32;
    }
    if (carry > 0)
        number[used++] = (uint32_t)carry;
    assert(used <= RADIX_WORDS_MAX);
    return used;
}

/* As many characters at a time as one word holds.  Returns the words used, or -1
 * for a character that is no digit. */
static int number_of(uint32_t *number, const struct encoding *encoding, const char *text, size_t length)
{
    uint32_t factor = 1, value = 0;
    size_t used = 0;

    for (size_t i = 0; i < length; i++) {
        int digit = digit_of(encoding, text[i]);

        if (digit < 0)
            return -1;
        value = value * encoding->radix + (uint32_t)digit;
        factor *= encoding->radix;
        if (i + 1 < length && (uint64_t)factor * encoding->radix <= UINT32_MAX)
            continue;
        used = multiply_add(number, used, factor, value);
        factor = 1;
        value = 0;
    }
    return (int)used;
}

/* Without zeros in front. */
static size_t number_bytes(const uint32_t *number, size_t used)
{
    size_t bytes = used * 4;

    while (bytes > 0 && (uint8_t)(number[(bytes - 1) / 4] >> (bytes - 1) % 4 * 8) == 0)
        bytes--;
    return bytes;
}

static int decode_radix(uint8_t *data, size_t capacity, size_t *length, const struct encoding *encoding,
                        const char *text, size_t text_length)
{
    uint32_t number[RADIX_WORDS_MAX];
    size_t bytes, zeros = 0;
    int used;

    if (text_length > BASE_RADIX_TEXT_MAX)
        return P2P_ERR_CALL_MALFORMED;
    while (zeros < text_length && text[zeros] == encoding->alphabet[0])
        zeros++;
    used = number_of(number, encoding, text + zeros, text_length - zeros);
    if (used < 0)
        return P2P_ERR_CALL_MALFORMED;
    bytes = number_bytes(number, (size_t)used);
    if (zeros + bytes > BASE_RADIX_BYTES_MAX)
        return P2P_ERR_CALL_MALFORMED;
    if (zeros + bytes > capacity)
        return P2P_ERR_CALL_SHORT;
    memset(data, 0, zeros);
    for (size_t i = 0; i < bytes; i++)
        data[zeros + i] = (uint8_t)(number[(bytes - 1 - i) / 4] >> (bytes - 1 - i) % 4 * 8);
    *length = zeros + bytes;
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
