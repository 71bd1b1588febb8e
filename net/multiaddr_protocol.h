#ifndef NET_MULTIADDR_PROTOCOL_H
#define NET_MULTIADDR_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>

#include "crypto/wire.h"
#include "net/multiaddr.h"

/* The protocols a multiaddr may hold; for multiaddr.c and multiaddr_text.c. */

enum { MULTIADDR_PROTOCOL_PREFIXED = -1 };

enum multiaddr_value {
    MULTIADDR_VALUE_NONE,
    MULTIADDR_VALUE_IP4,
    MULTIADDR_VALUE_IP6,
    MULTIADDR_VALUE_PORT,
    MULTIADDR_VALUE_CIDR,
    MULTIADDR_VALUE_NAME,      /* a DNS name */
    MULTIADDR_VALUE_ZONE,
    MULTIADDR_VALUE_PATH,      /* runs to the end of the address */
    MULTIADDR_VALUE_PEER,
    MULTIADDR_VALUE_HASH,      /* a multihash */
    MULTIADDR_VALUE_HTTP_PATH,
    MULTIADDR_VALUE_NUMBER,    /* 64 bits */
};

struct multiaddr_protocol {
    enum multiaddr_code code;
    enum multiaddr_value value;
    int size; /* bytes of the value, or MULTIADDR_PROTOCOL_PREFIXED: its length comes first */
    const char *name;
};

/* NULL when there is none. */
const struct multiaddr_protocol *multiaddr_protocol_by_code(uint64_t code);
const struct multiaddr_protocol *multiaddr_protocol_by_name(const char *name, size_t length);

/* Whether the binary value is one that the protocol may have. */
bool multiaddr_protocol_takes(const struct multiaddr_protocol *protocol, struct wire_span value);

#endif
