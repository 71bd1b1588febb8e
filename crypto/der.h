#ifndef CRYPTO_DER_H
#define CRYPTO_DER_H

#include "crypto/wire.h"

/* Just enough strict DER (X.690) to look at keys before a library does: every
 * length minimal, no indefinite form, at most 65,535 bytes an element.  The
 * reader fails for good on anything else. */

enum {
    DER_INTEGER = 0x02,
    DER_BIT_STRING = 0x03,
    DER_OCTET_STRING = 0x04,
    DER_SEQUENCE = 0x30,
    DER_CONTEXT_0 = 0xa0, /* constructed [0] */
    DER_CONTEXT_1 = 0xa1,
};

/* The contents of the next element, which must have this tag. */
struct wire_span der_read(struct wire_reader *reader, uint8_t tag);

/* The same as a reader; a failed one when there is none. */
struct wire_reader der_enter(struct wire_reader *reader, uint8_t tag);

/* True when the next element has this tag; reads nothing. */
bool der_is(const struct wire_reader *reader, uint8_t tag);

/* A positive INTEGER, minimally encoded, as big-endian bytes without leading zero. */
struct wire_span der_read_positive(struct wire_reader *reader);

/* A BIT STRING of whole bytes. */
struct wire_span der_read_bits(struct wire_reader *reader);

/* Fails the reader unless exactly these bytes come next. */
void der_expect(struct wire_reader *reader, const void *bytes, size_t length);

#endif
