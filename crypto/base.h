#ifndef CRYPTO_BASE_H
#define CRYPTO_BASE_H

#include <stddef.h>
#include <stdint.h>

/* Text encodings of bytes.  No heap; every output is bounded by its capacity. */

enum {
    /* base36 and base58 are quadratic.  Peer ids take 34 to 39 bytes and a
     * CID of one 43; nothing longer is written in them. */
    BASE_RADIX_BYTES_MAX = 128,
    BASE_RADIX_TEXT_MAX = 200, /* 128 bytes in base36, the longer of the two, with leading zeros */
};

/* The multibase name is in brackets (multiformats/multibase, multibase.csv). */
enum base_kind {
    BASE_16,     /* [f] hex; lower case written, both read */
    BASE_32,     /* [b] RFC 4648 lower case, no padding */
    BASE_36,     /* [k] 0-9a-z; both cases read */
    BASE_58,     /* [z] bitcoin alphabet */
    BASE_64,     /* [m] RFC 4648 standard alphabet; padding written, read with or without */
    BASE_64_URL, /* [u] RFC 4648 URL alphabet, no padding */
};

/* Writes the text of `data`, NUL-terminated; `length` (may be NULL) gets its
 * length without the NUL.  `capacity` includes the NUL.
 * Returns 0, P2P_ERR_CALL_SHORT, or P2P_ERR_CALL_INVALID (too long for a radix encoding). */
int base_encode(char *text, size_t capacity, size_t *length,
                enum base_kind kind, const uint8_t *data, size_t data_length);

/* Reads `text_length` characters.  Strict: no white space, no stray bits in
 * the last character.  Returns 0, P2P_ERR_CALL_SHORT, or P2P_ERR_CALL_MALFORMED. */
int base_decode(uint8_t *data, size_t capacity, size_t *length,
                enum base_kind kind, const char *text, size_t text_length);

/* The same, with the encoding named by the first character (multibase).
 * P2P_ERR_CALL_UNSUPPORTED when that is not one of those above. */
int base_decode_multibase(uint8_t *data, size_t capacity, size_t *length,
                          const char *text, size_t text_length);

/* Characters (with NUL) that suffice for base_encode of `data_length` bytes. */
size_t base_text_size(enum base_kind kind, size_t data_length);

#endif
