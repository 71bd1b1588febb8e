#include "net/multiaddr_protocol.h"

#include <string.h>

#include "crypto/multihash.h"

/* Those met most often come first: the lookup is a plain walk. */
static const struct multiaddr_protocol protocols[] = {
    {MULTIADDR_IP4, MULTIADDR_VALUE_IP4, 4, "ip4"},
    {MULTIADDR_TCP, MULTIADDR_VALUE_PORT, 2, "tcp"},
    {MULTIADDR_P2P, MULTIADDR_VALUE_PEER, MULTIADDR_PROTOCOL_PREFIXED, "p2p"},
    {MULTIADDR_UDP, MULTIADDR_VALUE_PORT, 2, "udp"},
    {MULTIADDR_QUIC_V1, MULTIADDR_VALUE_NONE, 0, "quic-v1"},
    {MULTIADDR_IP6, MULTIADDR_VALUE_IP6, 16, "ip6"},
    {MULTIADDR_WEBTRANSPORT, MULTIADDR_VALUE_NONE, 0, "webtransport"},
    {MULTIADDR_CERTHASH, MULTIADDR_VALUE_HASH, MULTIADDR_PROTOCOL_PREFIXED, "certhash"},
    {MULTIADDR_P2P_CIRCUIT, MULTIADDR_VALUE_NONE, 0, "p2p-circuit"},
    {MULTIADDR_WEBRTC_DIRECT, MULTIADDR_VALUE_NONE, 0, "webrtc-direct"},
    {MULTIADDR_WS, MULTIADDR_VALUE_NONE, 0, "ws"},
    {MULTIADDR_TLS, MULTIADDR_VALUE_NONE, 0, "tls"},
    {MULTIADDR_DNS, MULTIADDR_VALUE_NAME, MULTIADDR_PROTOCOL_PREFIXED, "dns"},
    {MULTIADDR_DNS4, MULTIADDR_VALUE_NAME, MULTIADDR_PROTOCOL_PREFIXED, "dns4"},
    {MULTIADDR_DNS6, MULTIADDR_VALUE_NAME, MULTIADDR_PROTOCOL_PREFIXED, "dns6"},
    {MULTIADDR_DNSADDR, MULTIADDR_VALUE_NAME, MULTIADDR_PROTOCOL_PREFIXED, "dnsaddr"},
    {MULTIADDR_SNI, MULTIADDR_VALUE_NAME, MULTIADDR_PROTOCOL_PREFIXED, "sni"},
    {MULTIADDR_WSS, MULTIADDR_VALUE_NONE, 0, "wss"},
    {MULTIADDR_WEBRTC, MULTIADDR_VALUE_NONE, 0, "webrtc"},
    {MULTIADDR_QUIC, MULTIADDR_VALUE_NONE, 0, "quic"},
    {MULTIADDR_IP6ZONE, MULTIADDR_VALUE_ZONE, MULTIADDR_PROTOCOL_PREFIXED, "ip6zone"},
    {MULTIADDR_UNIX, MULTIADDR_VALUE_PATH, MULTIADDR_PROTOCOL_PREFIXED, "unix"},
    {MULTIADDR_NOISE, MULTIADDR_VALUE_NONE, 0, "noise"},
    {MULTIADDR_HTTP, MULTIADDR_VALUE_NONE, 0, "http"},
    {MULTIADDR_HTTPS, MULTIADDR_VALUE_NONE, 0, "https"},
    {MULTIADDR_HTTP_PATH, MULTIADDR_VALUE_HTTP_PATH, MULTIADDR_PROTOCOL_PREFIXED, "http-path"},
    {MULTIADDR_IPCIDR, MULTIADDR_VALUE_CIDR, 1, "ipcidr"},
    {MULTIADDR_MEMORY, MULTIADDR_VALUE_NUMBER, 8, "memory"},
    {MULTIADDR_PLAINTEXTV2, MULTIADDR_VALUE_NONE, 0, "plaintextv2"},
    {MULTIADDR_P2P_WEBRTC_DIRECT, MULTIADDR_VALUE_NONE, 0, "p2p-webrtc-direct"},
    {MULTIADDR_DCCP, MULTIADDR_VALUE_PORT, 2, "dccp"},
    {MULTIADDR_SCTP, MULTIADDR_VALUE_PORT, 2, "sctp"},
    {MULTIADDR_UDT, MULTIADDR_VALUE_NONE, 0, "udt"},
    {MULTIADDR_UTP, MULTIADDR_VALUE_NONE, 0, "utp"},
};

enum { PROTOCOLS = sizeof(protocols) / sizeof(protocols[0]) };

const struct multiaddr_protocol *multiaddr_protocol_by_code(uint64_t code)
{
    for (size_t i = 0; i < PROTOCOLS; i++) {
        if ((uint64_t)protocols[i].code == code)
            return &protocols[i];
    }
    return NULL;
}

const struct multiaddr_protocol *multiaddr_protocol_by_name(const char *name, size_t length)
{
    if (length == 4 && memcmp(name, "ipfs", 4) == 0)
        return multiaddr_protocol_by_code(MULTIADDR_P2P);
    for (size_t i = 0; i < PROTOCOLS; i++) {
        if (strlen(protocols[i].name) == length && memcmp(protocols[i].name, name, length) == 0)
            return &protocols[i];
    }
    return NULL;
}

/* Names and zones appear in logs and in what scripts read, so what is not
 * printable ASCII is refused; international names travel as punycode. */
static bool is_word(struct wire_span value, size_t length_max)
{
    if (value.length == 0 || value.length > length_max)
        return false;
    for (size_t i = 0; i < value.length; i++) {
        if (value.data[i] <= ' ' || value.data[i] > '~' || value.data[i] == '/')
            return false;
    }
    return true;
}

/* A NUL would cut the path when it becomes a C string. */
static bool is_path(struct wire_span value)
{
    return value.length >= 2 && value.data[0] == '/' && value.data[value.length - 1] != '/' &&
           memchr(value.data, 0, value.length) == NULL;
}

static bool is_peer(struct wire_span value)
{
    struct multihash hash;
    if (value.length > PEER_ID_BYTES_MAX || multihash_parse(&hash, value.data, value.length) != 0)
        return false;
    return hash.code == MULTIHASH_SHA2_256 || hash.code == MULTIHASH_IDENTITY;
}

static bool is_hash(struct wire_span value)
{
    struct multihash hash;
    return multihash_parse(&hash, value.data, value.length) == 0;
}

bool multiaddr_protocol_takes(const struct multiaddr_protocol *protocol, struct wire_span value)
{
    if (protocol->size != MULTIADDR_PROTOCOL_PREFIXED)
        return value.length == (size_t)protocol->size;
    switch (protocol->value) {
    case MULTIADDR_VALUE_NAME:
        return is_word(value, MULTIADDR_HOST_SIZE - 1);
    case MULTIADDR_VALUE_ZONE:
        return is_word(value, MULTIADDR_BYTES_MAX);
    case MULTIADDR_VALUE_PATH:
        return is_path(value);
    case MULTIADDR_VALUE_PEER:
        return is_peer(value);
    case MULTIADDR_VALUE_HASH:
        return is_hash(value);
    default:
        return value.length > 0;
    }
}
