#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "chorus/p2p.h"
#include "net/multiaddr.h"

/* Where a multiaddr leads: scopes, socket addresses, names. */

/* (ip4 | [ip6zone] ip6) tcp [p2p]; the spans are of the address. */
struct endpoint {
    struct wire_span zone; /* {NULL, 0}: none */
    struct wire_span ip;   /* 4 or 16 bytes */
    uint16_t port;
};

static uint16_t port_of(struct wire_span value)
{
    return (uint16_t)(value.data[0] << 8 | value.data[1]);
}

/* True when what comes at `offset` is: tcp [p2p] and the end. */
static bool ends_in_tcp(const struct multiaddr *m, size_t offset, uint16_t *port)
{
    struct multiaddr_component component;
    if (!multiaddr_next(m, &offset, &component) || component.code != MULTIADDR_TCP)
        return false;
    *port = port_of(component.value);
    if (multiaddr_next(m, &offset, &component) && component.code != MULTIADDR_P2P)
        return false;
    return offset == m->length;
}

static bool endpoint_of(const struct multiaddr *m, struct endpoint *endpoint)
{
    struct multiaddr_component component;
    size_t offset = 0;
    *endpoint = (struct endpoint){{NULL, 0}, {NULL, 0}, 0};
    if (!multiaddr_next(m, &offset, &component))
        return false;
    if (component.code == MULTIADDR_IP6ZONE) {
        endpoint->zone = component.value;
        if (!multiaddr_next(m, &offset, &component) || component.code != MULTIADDR_IP6)
            return false;
    }
    if (component.code != MULTIADDR_IP4 && component.code != MULTIADDR_IP6)
        return false;
    endpoint->ip = component.value;
    return ends_in_tcp(m, offset, &endpoint->port);
}

/* ---- scopes ---- */

struct range {
    uint8_t prefix[12];
    uint8_t bits;
    enum multiaddr_scope scope;
};

/* IANA IPv4 Special-Purpose Address Registry, and multicast. */
static const struct range ranges4[] = {
    {{0, 0, 0, 0}, 32, MULTIADDR_SCOPE_UNSPECIFIED},
    {{0}, 8, MULTIADDR_SCOPE_RESERVED},
    {{10}, 8, MULTIADDR_SCOPE_PRIVATE},
    {{100, 64}, 10, MULTIADDR_SCOPE_PRIVATE},
    {{127}, 8, MULTIADDR_SCOPE_LOOPBACK},
    {{169, 254}, 16, MULTIADDR_SCOPE_LINK_LOCAL},
    {{172, 16}, 12, MULTIADDR_SCOPE_PRIVATE},
    {{192, 0, 0}, 24, MULTIADDR_SCOPE_RESERVED},
    {{192, 0, 2}, 24, MULTIADDR_SCOPE_RESERVED},
    {{192, 88, 99}, 24, MULTIADDR_SCOPE_RESERVED},
    {{192, 168}, 16, MULTIADDR_SCOPE_PRIVATE},
    {{198, 18}, 15, MULTIADDR_SCOPE_RESERVED},
    {{198, 51, 100}, 24, MULTIADDR_SCOPE_RESERVED},
    {{203, 0, 113}, 24, MULTIADDR_SCOPE_RESERVED},
    {{224}, 3, MULTIADDR_SCOPE_RESERVED}, /* 224/4 and 240/4 */
    {{0}, 0, MULTIADDR_SCOPE_PUBLIC},
};

/* IANA IPv6 Special-Purpose Address Registry.  Only 2000::/3 and the NAT64
 * prefixes (RFC 6052, RFC 8215) lead out. */
static const struct range ranges6[] = {
    {{0x20, 0x01, 0x0d, 0xb8}, 32, MULTIADDR_SCOPE_RESERVED},
    {{0x3f, 0xff, 0x00}, 20, MULTIADDR_SCOPE_RESERVED},
    {{0x20}, 3, MULTIADDR_SCOPE_PUBLIC},
    {{0xfe, 0x80}, 10, MULTIADDR_SCOPE_LINK_LOCAL},
    {{0xfc}, 7, MULTIADDR_SCOPE_PRIVATE},
    {{0x00, 0x64, 0xff, 0x9b}, 96, MULTIADDR_SCOPE_PUBLIC},
    {{0x00, 0x64, 0xff, 0x9b, 0, 1}, 48, MULTIADDR_SCOPE_PUBLIC},
    {{0}, 0, MULTIADDR_SCOPE_RESERVED},
};

static bool in_range(const struct range *range, const uint8_t *ip)
{
    unsigned whole = range->bits / 8, rest = range->bits % 8;
    if (memcmp(ip, range->prefix, whole) != 0)
        return false;
    return rest == 0 || (ip[whole] ^ range->prefix[whole]) >> (8 - rest) == 0;
}

static enum multiaddr_scope scope_in(const struct range *range, const uint8_t *ip)
{
    while (!in_range(range, ip))
        range++; /* the last one holds all */
    return range->scope;
}

static bool is_v4_mapped(const uint8_t ip[16])
{
    static const uint8_t prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    return memcmp(ip, prefix, sizeof(prefix)) == 0;
}

static enum multiaddr_scope scope_of_ip6(const uint8_t ip[16])
{
    static const uint8_t zeros[15];
    if (is_v4_mapped(ip))
        return scope_in(ranges4, ip + 12);
    if (memcmp(ip, zeros, sizeof(zeros)) == 0 && ip[15] <= 1)
        return ip[15] ? MULTIADDR_SCOPE_LOOPBACK : MULTIADDR_SCOPE_UNSPECIFIED;
    return scope_in(ranges6, ip);
}

/* `domain` itself or a name in it. */
static bool is_in_domain(struct wire_span name, const char *domain)
{
    size_t length = strlen(domain);
    if (name.length > 1 && name.data[name.length - 1] == '.')
        name.length--;
    if (name.length < length)
        return false;
    size_t before = name.length - length;
    return strncasecmp((const char *)name.data + before, domain, length) == 0 &&
           (before == 0 || name.data[before - 1] == '.');
}

/* IANA Special-Use Domain Names (RFC 6761, 6762, 8375). */
static enum multiaddr_scope scope_of_name(struct wire_span name)
{
    if (is_in_domain(name, "localhost"))
        return MULTIADDR_SCOPE_LOOPBACK;
    if (is_in_domain(name, "local") || is_in_domain(name, "test") || is_in_domain(name, "home.arpa"))
        return MULTIADDR_SCOPE_PRIVATE;
    if (is_in_domain(name, "invalid") || is_in_domain(name, "in-addr.arpa") || is_in_domain(name, "ip6.arpa"))
        return MULTIADDR_SCOPE_RESERVED;
    return MULTIADDR_SCOPE_PUBLIC;
}

static bool is_name(enum multiaddr_code code)
{
    return code == MULTIADDR_DNS || code == MULTIADDR_DNS4 || code == MULTIADDR_DNS6 ||
           code == MULTIADDR_DNSADDR;
}

enum multiaddr_scope multiaddr_scope(const struct multiaddr *m)
{
    struct multiaddr_component component;
    size_t offset = 0;
    bool there = multiaddr_next(m, &offset, &component);
    if (there && component.code == MULTIADDR_IP6ZONE)
        there = multiaddr_next(m, &offset, &component);
    if (!there)
        return MULTIADDR_SCOPE_NONE;
    if (component.code == MULTIADDR_IP4)
        return scope_in(ranges4, component.value.data);
    if (component.code == MULTIADDR_IP6)
        return scope_of_ip6(component.value.data);
    return is_name(component.code) ? scope_of_name(component.value) : MULTIADDR_SCOPE_NONE;
}

/* ---- sockets ---- */

bool multiaddr_is_tcp(const struct multiaddr *m)
{
    struct endpoint endpoint;
    return endpoint_of(m, &endpoint);
}

bool multiaddr_is_dialable_tcp(const struct multiaddr *m)
{
    struct endpoint endpoint;
    if (!endpoint_of(m, &endpoint) || endpoint.port == 0)
        return false;
    enum multiaddr_scope scope = multiaddr_scope(m);
    if (scope == MULTIADDR_SCOPE_LINK_LOCAL && endpoint.ip.length == 16)
        return endpoint.zone.length > 0;
    return scope != MULTIADDR_SCOPE_UNSPECIFIED;
}

/* The number that a zone is, 0 when it is a name. */
static uint32_t zone_number(struct wire_span zone)
{
    uint64_t number = 0;
    for (size_t i = 0; i < zone.length; i++) {
        if (zone.data[i] < '0' || zone.data[i] > '9' || number > UINT32_MAX)
            return 0;
        number = number * 10 + (uint64_t)(zone.data[i] - '0');
    }
    return number <= UINT32_MAX ? (uint32_t)number : 0;
}

int multiaddr_to_sockaddr(const struct multiaddr *m, struct sockaddr_storage *address, socklen_t *length,
                          uint32_t zone_index)
{
    struct endpoint endpoint;
    if (!endpoint_of(m, &endpoint))
        return P2P_ERR_CALL_UNSUPPORTED;
    uint32_t number = zone_number(endpoint.zone);
    uint32_t zone = number ? number : zone_index;
    if (endpoint.zone.length > 0 && zone == 0)
        return P2P_ERR_CALL_NOT_FOUND;
    memset(address, 0, sizeof(*address));
    if (endpoint.ip.length == 4) {
        struct sockaddr_in *in = (struct sockaddr_in *)address;
        in->sin_family = AF_INET;
        in->sin_port = htons(endpoint.port);
        memcpy(&in->sin_addr, endpoint.ip.data, 4);
        *length = sizeof(*in);
        return 0;
    }
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)address;
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(endpoint.port);
    in6->sin6_scope_id = endpoint.zone.length > 0 ? zone : 0;
    memcpy(&in6->sin6_addr, endpoint.ip.data, 16);
    *length = sizeof(*in6);
    return 0;
}

static void append(struct multiaddr *m, enum multiaddr_code code, const void *value, size_t length)
{
    int error = multiaddr_append(m, code, (const uint8_t *)value, length);
    assert(error == 0); /* an IP address and a port always fit an empty multiaddr */
}

/* Appends the IP address, with its zone; false for another family. */
static bool append_ip(struct multiaddr *m, const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        append(m, MULTIADDR_IP4, &((const struct sockaddr_in *)address)->sin_addr, 4);
        return true;
    }
    if (address->sa_family != AF_INET6)
        return false;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;
    const uint8_t *ip = in6->sin6_addr.s6_addr;
    if (is_v4_mapped(ip)) {
        append(m, MULTIADDR_IP4, ip + 12, 4);
        return true;
    }
    if (in6->sin6_scope_id != 0 && scope_of_ip6(ip) == MULTIADDR_SCOPE_LINK_LOCAL) {
        char zone[MULTIADDR_ZONE_SIZE];
        size_t start = sizeof(zone);
        for (uint32_t left = in6->sin6_scope_id; left > 0; left /= 10)
            zone[--start] = (char)('0' + left % 10);
        append(m, MULTIADDR_IP6ZONE, zone + start, sizeof(zone) - start);
    }
    append(m, MULTIADDR_IP6, ip, 16);
    return true;
}

int multiaddr_from_sockaddr(struct multiaddr *m, const struct sockaddr *address)
{
    struct multiaddr made = {0, {0}};
    if (!append_ip(&made, address))
        return P2P_ERR_CALL_UNSUPPORTED;
    in_port_t port = address->sa_family == AF_INET ? ((const struct sockaddr_in *)address)->sin_port
                                                   : ((const struct sockaddr_in6 *)address)->sin6_port;
    append(&made, MULTIADDR_TCP, &port, 2);
    *m = made;
    return 0;
}

static int copy_text(char *text, size_t size, struct wire_span value)
{
    if (value.length >= size)
        return P2P_ERR_CALL_SHORT;
    memcpy(text, value.data, value.length);
    text[value.length] = '\0';
    return 0;
}

int multiaddr_zone(const struct multiaddr *m, char zone[MULTIADDR_ZONE_SIZE])
{
    struct multiaddr_component component;
    size_t offset = 0;
    if (!multiaddr_next(m, &offset, &component) || component.code != MULTIADDR_IP6ZONE)
        return P2P_ERR_CALL_NOT_FOUND;
    return copy_text(zone, MULTIADDR_ZONE_SIZE, component.value) == 0 ? 0 : P2P_ERR_CALL_NOT_FOUND;
}

/* ---- names ---- */

static bool begins_with_name(const struct multiaddr *m, size_t *offset, struct multiaddr_component *component)
{
    *offset = 0;
    return multiaddr_next(m, offset, component) && is_name(component->code);
}

int multiaddr_host(const struct multiaddr *m, char *name, size_t size, enum multiaddr_code *kind)
{
    struct multiaddr_component component;
    size_t offset;
    if (!begins_with_name(m, &offset, &component))
        return P2P_ERR_CALL_NOT_FOUND;
    int error = copy_text(name, size, component.value);
    if (error == 0)
        *kind = component.code;
    return error;
}

bool multiaddr_is_resolvable(const struct multiaddr *m)
{
    struct multiaddr_component component;
    size_t offset;
    uint16_t port;
    if (!begins_with_name(m, &offset, &component))
        return false;
    return component.code == MULTIADDR_DNSADDR || (ends_in_tcp(m, offset, &port) && port != 0);
}

int multiaddr_resolve_host(struct multiaddr *m, const struct sockaddr *resolved)
{
    struct multiaddr_component component;
    size_t offset;
    if (!begins_with_name(m, &offset, &component))
        return P2P_ERR_CALL_NOT_FOUND;
    struct multiaddr made = {0, {0}};
    if (!append_ip(&made, resolved))
        return P2P_ERR_CALL_UNSUPPORTED;
    size_t rest = m->length - offset;
    if (made.length + rest > MULTIADDR_BYTES_MAX)
        return P2P_ERR_CALL_SHORT;
    memcpy(made.bytes + made.length, m->bytes + offset, rest);
    made.length = (uint16_t)(made.length + rest);
    *m = made;
    return 0;
}

int multiaddr_port(const struct multiaddr *m, uint16_t *port)
{
    struct multiaddr_component component;
    size_t offset = 0;
    while (multiaddr_next(m, &offset, &component)) {
        if (component.code == MULTIADDR_TCP || component.code == MULTIADDR_UDP) {
            *port = port_of(component.value);
            return 0;
        }
    }
    return P2P_ERR_CALL_NOT_FOUND;
}
