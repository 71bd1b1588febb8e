#ifndef NET_MULTIADDR_H
#define NET_MULTIADDR_H

#include <assert.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include "crypto/peer_id.h"
#include "crypto/wire.h"

/* Multiaddrs (multiformats/multiaddr; libp2p specs, addressing/README.md):
 * values without heap, held in their binary form.
 *
 * A struct multiaddr is valid or of length 0 ("no address"); only the
 * functions below make one, all or nothing: on an error the output is left as
 * it was.  Only the first `length` bytes count, so compare with
 * multiaddr_equal, never with memcmp of the struct. */

enum {
    MULTIADDR_BYTES_MAX = 254,       /* ours: 256 with the length.  The longest address in use, a browser's
                                      * WebRTC through a relay's WebTransport, takes under 200 */
    MULTIADDR_TEXT_SIZE = 2304,      /* any text with its NUL: 127 times "/p2p-webrtc-direct" for 2 bytes */
    MULTIADDR_ERROR_SIZE = 256,      /* holds any error text of multiaddr_from_text */
    MULTIADDR_HOST_SIZE = 254,       /* a DNS name of 253 characters (RFC 1035) with its NUL */
    MULTIADDR_ZONE_SIZE = 16,        /* an interface's name with its NUL: IFNAMSIZ */
};

enum multiaddr_code { /* multiformats/multiaddr, protocols.csv */
    MULTIADDR_IP4 = 4,
    MULTIADDR_TCP = 6,
    MULTIADDR_DCCP = 33,
    MULTIADDR_IP6 = 41,
    MULTIADDR_IP6ZONE = 42,
    MULTIADDR_IPCIDR = 43,
    MULTIADDR_DNS = 53,
    MULTIADDR_DNS4 = 54,
    MULTIADDR_DNS6 = 55,
    MULTIADDR_DNSADDR = 56,
    MULTIADDR_SCTP = 132,
    MULTIADDR_UDP = 273,
    MULTIADDR_P2P_WEBRTC_DIRECT = 276,
    MULTIADDR_WEBRTC_DIRECT = 280,
    MULTIADDR_WEBRTC = 281,
    MULTIADDR_P2P_CIRCUIT = 290,
    MULTIADDR_UDT = 301,
    MULTIADDR_UTP = 302,
    MULTIADDR_UNIX = 400,
    MULTIADDR_P2P = 421,
    MULTIADDR_HTTPS = 443,
    MULTIADDR_TLS = 448,
    MULTIADDR_SNI = 449,
    MULTIADDR_NOISE = 454,
    MULTIADDR_QUIC = 460,
    MULTIADDR_QUIC_V1 = 461,
    MULTIADDR_WEBTRANSPORT = 465,
    MULTIADDR_CERTHASH = 466,
    MULTIADDR_WS = 477,
    MULTIADDR_WSS = 478,
    MULTIADDR_HTTP = 480,
    MULTIADDR_HTTP_PATH = 481,
    MULTIADDR_MEMORY = 777,
    MULTIADDR_PLAINTEXTV2 = 7367777,
};

struct multiaddr {
    uint16_t length; /* 0: no address */
    uint8_t bytes[MULTIADDR_BYTES_MAX];
};

static_assert(sizeof(struct multiaddr) == 256, "a quarter of a kilobyte");

struct multiaddr_component {
    enum multiaddr_code code;
    size_t offset;          /* where the component starts in the address */
    struct wire_span value; /* without its length prefix; {NULL, 0} for protocols without a value */
};

/* Where an address leads, by its first IP address or DNS name. */
enum multiaddr_scope {
    MULTIADDR_SCOPE_NONE,        /* begins with neither: /unix, /memory, /p2p/... */
    MULTIADDR_SCOPE_UNSPECIFIED, /* 0.0.0.0, :: */
    MULTIADDR_SCOPE_LOOPBACK,    /* 127/8, ::1, localhost */
    MULTIADDR_SCOPE_LINK_LOCAL,  /* 169.254/16, fe80::/10 */
    MULTIADDR_SCOPE_PRIVATE,     /* RFC 1918, 100.64/10, fc00::/7, *.local, *.test, *.home.arpa */
    MULTIADDR_SCOPE_RESERVED,    /* multicast, documentation, ...: leads nowhere (IANA special registries) */
    MULTIADDR_SCOPE_PUBLIC,      /* all others, and DNS names of no special use */
};

/* ---- bytes and text ---- */

/* From the binary form, all of `length` bytes.
 * Returns 0; P2P_ERR_CALL_MALFORMED (also when empty, or a varint is longer
 * than needed); P2P_ERR_CALL_UNSUPPORTED (a protocol code we do not know, or
 * more than MULTIADDR_BYTES_MAX). */
int multiaddr_from_bytes(struct multiaddr *m, const uint8_t *data, size_t length);

/* From text.  /ipfs is read as /p2p, peer ids in both text forms, a Unix path
 * as /unix/tmp/x.sock (it runs to the end) or as /unix/%2Ftmp%2Fx.sock.  On an
 * error `error_text` (may be NULL with size 0; cut to its size) gets one line
 * that names the component, what is wrong with it, and what to write instead;
 * it holds printable characters only.
 * Returns 0, P2P_ERR_CALL_MALFORMED, P2P_ERR_CALL_UNSUPPORTED (as above). */
int multiaddr_from_text(struct multiaddr *m, const char *text, char *error_text, size_t error_text_bytes);

/* The same for text that is not terminated. */
int multiaddr_from_chars(struct multiaddr *m, const char *text, size_t length,
                         char *error_text, size_t error_text_bytes);

/* The canonical text, which multiaddr_from_text reads back to the same bytes;
 * an empty string for no address.  Printable ASCII only.  Returns its length
 * without the NUL, or P2P_ERR_CALL_SHORT (`text` is then an empty string);
 * MULTIADDR_TEXT_SIZE suffices always. */
int multiaddr_to_text(const struct multiaddr *m, char *text, size_t size);

/* ---- looking inside ---- */

/* Walks over the components: start with *offset 0.  False at the end. */
bool multiaddr_next(const struct multiaddr *m, size_t *offset, struct multiaddr_component *component);

/* The first component with that code; false when there is none. */
bool multiaddr_find(const struct multiaddr *m, enum multiaddr_code code,
                    struct multiaddr_component *component);

static inline bool multiaddr_is_none(const struct multiaddr *m)
{
    return m->length == 0;
}

static inline bool multiaddr_equal(const struct multiaddr *a, const struct multiaddr *b)
{
    return a->length == b->length && memcmp(a->bytes, b->bytes, a->length) == 0;
}

enum multiaddr_scope multiaddr_scope(const struct multiaddr *m);

/* Goes through a relay: has a /p2p-circuit. */
bool multiaddr_is_relayed(const struct multiaddr *m);

/* (ip4 | [ip6zone] ip6) tcp [p2p] and no more: what multiaddr_to_sockaddr takes. */
bool multiaddr_is_tcp(const struct multiaddr *m);

/* As multiaddr_is_tcp, and worth dialing: a port other than 0, not the
 * unspecified address, not an ip6 link-local one without zone. */
bool multiaddr_is_dialable_tcp(const struct multiaddr *m);

/* Begins with a DNS name that may lead to a dialable address:
 * (dns | dns4 | dns6) tcp [p2p] with a port other than 0, or dnsaddr with anything. */
bool multiaddr_is_resolvable(const struct multiaddr *m);

/* ---- sockets and names ---- */

/* The socket address of a multiaddr_is_tcp.  `zone_index` is the index of the
 * interface that a zone names (multiaddr_zone, if_nametoindex); a zone that is
 * a number, or none, needs none: 0.
 * Returns 0; P2P_ERR_CALL_UNSUPPORTED (not such an address);
 * P2P_ERR_CALL_NOT_FOUND (a named zone and zone_index 0). */
int multiaddr_to_sockaddr(const struct multiaddr *m, struct sockaddr_storage *address, socklen_t *length,
                          uint32_t zone_index);

/* /ip4/A/tcp/P or /ip6/A/tcp/P; a v4-mapped address becomes ip4; a link-local
 * one with a scope id gets its number as ip6zone.
 * Returns 0, or P2P_ERR_CALL_UNSUPPORTED (another family). */
int multiaddr_from_sockaddr(struct multiaddr *m, const struct sockaddr *address);

/* The zone of an address that begins with ip6zone, terminated.  Returns 0 or
 * P2P_ERR_CALL_NOT_FOUND (none, or longer than an interface's name). */
int multiaddr_zone(const struct multiaddr *m, char zone[MULTIADDR_ZONE_SIZE]);

/* The DNS name at the beginning, terminated (MULTIADDR_HOST_SIZE suffices
 * always); `kind` gets MULTIADDR_DNS (ask for both families), _DNS4, _DNS6 or
 * _DNSADDR (ask for TXT, see dnsaddr.h).
 * Returns 0; P2P_ERR_CALL_NOT_FOUND (does not begin with one); P2P_ERR_CALL_SHORT. */
int multiaddr_host(const struct multiaddr *m, char *name, size_t size, enum multiaddr_code *kind);

/* Puts the IP address of `resolved` (its port does not count) in the place of
 * the DNS name at the beginning.  Returns 0; P2P_ERR_CALL_NOT_FOUND (begins
 * with none); P2P_ERR_CALL_UNSUPPORTED (family); P2P_ERR_CALL_SHORT (too long). */
int multiaddr_resolve_host(struct multiaddr *m, const struct sockaddr *resolved);

/* The port of the first tcp or udp component; P2P_ERR_CALL_NOT_FOUND without. */
int multiaddr_port(const struct multiaddr *m, uint16_t *port);

/* ---- peer ids ---- */

/* The peer the address leads to: its last component, if that is /p2p.
 * Returns 0; P2P_ERR_CALL_NOT_FOUND; P2P_ERR_CALL_MALFORMED (a multihash, but
 * not of a key: binary addresses are checked for the former only, as one
 * message may hold hundreds). */
int multiaddr_peer_id(const struct multiaddr *m, struct peer_id *id);

/* Makes the address end in /p2p/ID.  Nothing to do when it does already.
 * Returns 0; P2P_ERR_CALL_EXISTS (ends in another id); P2P_ERR_CALL_SHORT (too long). */
int multiaddr_with_peer_id(struct multiaddr *m, const struct peer_id *id);

/* Takes a last component /p2p away; what is left may be no address. */
void multiaddr_without_peer_id(struct multiaddr *m);

/* Appends a component; `value` is its binary form without length prefix.
 * Returns 0; P2P_ERR_CALL_MALFORMED (the value does not fit the protocol, or
 * the address ends in a Unix path); P2P_ERR_CALL_SHORT (too long). */
int multiaddr_append(struct multiaddr *m, enum multiaddr_code code, const uint8_t *value, size_t length);

#endif
