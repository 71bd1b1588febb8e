#include <arpa/inet.h>
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "chorus/p2p.h"
#include "crypto/base.h"
#include "net/multiaddr.h"
#include "net/multiaddr_protocol.h"

/* Text to bytes and back. */

enum {
    QUOTE_CHARS_MAX = 60,      /* of the user's text repeated in an error */
    VALUE_TEXT_SIZE = 3 * MULTIADDR_BYTES_MAX + 1, /* of one value: each byte as %XX */
};

struct chars {
    const char *text;
    size_t length;
};

/* What a value must be, and what to write: the words of the errors. */
struct wording {
    const char *what;
    const char *write;
};

static const struct wording wordings[] = {
    [MULTIADDR_VALUE_NONE] = {"nothing", "the next protocol"},
    [MULTIADDR_VALUE_IP4] = {"an IPv4 address", "four numbers from 0 to 255, as in /ip4/192.0.2.1"},
    [MULTIADDR_VALUE_IP6] = {"an IPv6 address", "one as in /ip6/2001:db8::1"},
    [MULTIADDR_VALUE_PORT] = {"a port", "a number from 0 to 65535"},
    [MULTIADDR_VALUE_CIDR] = {"a prefix length", "a number from 0 to 255"},
    [MULTIADDR_VALUE_NAME] = {"a DNS name", "at most 253 printable ASCII characters (xn--... for others)"},
    [MULTIADDR_VALUE_ZONE] = {"an interface", "its name or number, as in /ip6zone/eth0"},
    [MULTIADDR_VALUE_PATH] = {"a path", "an absolute one, as in /unix/run/x.sock or /unix/%2Frun%2Fx.sock"},
    [MULTIADDR_VALUE_PEER] = {"a peer id", "one of the form 12D3KooW..., Qm..., or its CID"},
    [MULTIADDR_VALUE_HASH] = {"a multihash in multibase", "one as in /certhash/uEi..."},
    [MULTIADDR_VALUE_HTTP_PATH] = {"an escaped path", "%2F for each / in it"},
    [MULTIADDR_VALUE_NUMBER] = {"a number", "one from 0 to 18446744073709551615"},
};

/* ---- from text ---- */

struct parser {
    struct multiaddr made;
    struct chars rest;
    char *error;
    size_t error_bytes;
};

/* A printable copy in quotes, cut to a readable length. */
static const char *quote(char out[QUOTE_CHARS_MAX + 6], struct chars chars)
{
    bool cut = chars.length > QUOTE_CHARS_MAX;
    size_t length = cut ? QUOTE_CHARS_MAX : chars.length;
    const char *end = cut ? "...\"" : "\"";
    out[0] = '"';
    for (size_t i = 0; i < length; i++) {
        char c = chars.text[i];
        out[1 + i] = (char)(c >= ' ' && c <= '~' ? c : '?');
    }
    memcpy(out + 1 + length, end, strlen(end) + 1);
    return out;
}

static int fail(struct parser *parser, int error, const char *reason)
{
    if (parser->error_bytes > 0)
        snprintf(parser->error, parser->error_bytes, "%s", reason);
    return error;
}

/* `/tcp/x1: "x1" is not a port; write a number from 0 to 65535` */
static int fail_value(struct parser *parser, const struct multiaddr_protocol *protocol, struct chars value)
{
    const struct wording *wording = &wordings[protocol->value];
    char reason[MULTIADDR_ERROR_SIZE], quoted[QUOTE_CHARS_MAX + 6];
    if (value.length == 0)
        snprintf(reason, sizeof(reason), "/%s needs %s; write %s", protocol->name, wording->what,
                 wording->write);
    else
        snprintf(reason, sizeof(reason), "/%s: %s is not %s; write %s", protocol->name, quote(quoted, value),
                 wording->what, wording->write);
    return fail(parser, P2P_ERR_CALL_MALFORMED, reason);
}

static int fail_protocol(struct parser *parser, struct chars name)
{
    char reason[MULTIADDR_ERROR_SIZE], quoted[QUOTE_CHARS_MAX + 6];
    if (name.length == 0)
        return fail(parser, P2P_ERR_CALL_MALFORMED,
                    "\"//\": a protocol is missing between the slashes; write one slash, or the protocol");
    snprintf(reason, sizeof(reason),
             "%s is not a protocol known here; write one as in /ip4/192.0.2.1/tcp/3333", quote(quoted, name));
    return fail(parser, P2P_ERR_CALL_UNSUPPORTED, reason);
}

static int fail_length(struct parser *parser, const struct multiaddr_protocol *protocol)
{
    char reason[MULTIADDR_ERROR_SIZE];
    snprintf(reason, sizeof(reason), "/%s: with it the address takes more than %d bytes; shorten it",
             protocol->name, MULTIADDR_BYTES_MAX);
    return fail(parser, P2P_ERR_CALL_UNSUPPORTED, reason);
}

/* Takes what stands before the next slash; the slash goes too. */
static struct chars take(struct chars *rest)
{
    const char *slash = rest->length ? memchr(rest->text, '/', rest->length) : NULL;
    struct chars taken = {rest->text, slash ? (size_t)(slash - rest->text) : rest->length};
    size_t gone = taken.length + (slash ? 1 : 0);
    rest->text += gone;
    rest->length -= gone;
    return taken;
}

/* The values: each reader fails the writer when the text is not of its form. */

static void read_ip(struct wire_writer *value, struct chars chars, int family)
{
    char text[INET6_ADDRSTRLEN];
    uint8_t ip[16];
    if (chars.length >= sizeof(text) || memchr(chars.text, 0, chars.length)) {
        value->failed = true;
        return;
    }
    memcpy(text, chars.text, chars.length);
    text[chars.length] = '\0';
    if (inet_pton(family, text, ip) == 1)
        wire_write_bytes(value, ip, family == AF_INET ? 4 : 16);
    else
        value->failed = true;
}

static uint64_t read_number(struct wire_writer *value, struct chars chars, uint64_t max)
{
    uint64_t number = 0;
    for (size_t i = 0; i < chars.length && !value->failed; i++) {
        uint64_t digit = (uint64_t)chars.text[i] - '0';
        if (digit > 9 || number > (max - digit) / 10)
            value->failed = true;
        else
            number = number * 10 + digit;
    }
    return number;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static void read_escaped(struct wire_writer *value, struct chars chars)
{
    for (size_t i = 0; i < chars.length && !value->failed; i++) {
        if (chars.text[i] != '%') {
            wire_write_u8(value, (uint8_t)chars.text[i]);
            continue;
        }
        int high = i + 2 < chars.length ? hex_digit(chars.text[i + 1]) : -1;
        int low = i + 2 < chars.length ? hex_digit(chars.text[i + 2]) : -1;
        if (high < 0 || low < 0)
            value->failed = true;
        wire_write_u8(value, (uint8_t)(high * 16 + low));
        i += 2;
    }
}

/* Two forms are in use: go's, the path as it is, and js's, with its slashes
 * escaped.  The second is known by its first slash. */
static void read_path(struct wire_writer *value, struct chars chars)
{
    bool escaped = chars.length >= 3 && chars.text[0] == '%' && chars.text[1] == '2' &&
                   (chars.text[2] == 'F' || chars.text[2] == 'f');
    if (!escaped) {
        wire_write_u8(value, '/');
        wire_write_bytes(value, (const uint8_t *)chars.text, chars.length);
    } else if (memchr(chars.text, '/', chars.length)) {
        value->failed = true; /* nothing can follow a path */
    } else {
        read_escaped(value, chars);
    }
}

static void read_peer(struct wire_writer *value, struct chars chars)
{
    struct peer_id id;
    if (peer_id_from_text(&id, chars.text, chars.length) == 0)
        wire_write_bytes(value, id.bytes, id.length);
    else
        value->failed = true;
}

static void read_hash(struct wire_writer *value, struct chars chars)
{
    if (base_decode_multibase(value->data, value->capacity, &value->length, chars.text, chars.length) != 0)
        value->failed = true;
}

static void read_value(struct wire_writer *value, const struct multiaddr_protocol *protocol,
                       struct chars chars)
{
    switch (protocol->value) {
    case MULTIADDR_VALUE_IP4:
        read_ip(value, chars, AF_INET);
        break;
    case MULTIADDR_VALUE_IP6:
        read_ip(value, chars, AF_INET6);
        break;
    case MULTIADDR_VALUE_PORT:
        wire_write_u16(value, (uint16_t)read_number(value, chars, UINT16_MAX));
        break;
    case MULTIADDR_VALUE_CIDR:
        wire_write_u8(value, (uint8_t)read_number(value, chars, UINT8_MAX));
        break;
    case MULTIADDR_VALUE_NUMBER:
        wire_write_u64(value, read_number(value, chars, UINT64_MAX));
        break;
    case MULTIADDR_VALUE_PATH:
        read_path(value, chars);
        break;
    case MULTIADDR_VALUE_PEER:
        read_peer(value, chars);
        break;
    case MULTIADDR_VALUE_HASH:
        read_hash(value, chars);
        break;
    case MULTIADDR_VALUE_HTTP_PATH:
        read_escaped(value, chars);
        break;
    default:
        wire_write_bytes(value, (const uint8_t *)chars.text, chars.length);
    }
}

static int parse_component(struct parser *parser)
{
    struct chars name = take(&parser->rest);
    const struct multiaddr_protocol *protocol = multiaddr_protocol_by_name(name.text, name.length);
    if (!protocol)
        return fail_protocol(parser, name);
    uint8_t bytes[MULTIADDR_BYTES_MAX];
    struct wire_writer value = wire_writer_of(bytes, sizeof(bytes));
    if (protocol->value != MULTIADDR_VALUE_NONE) {
        struct chars chars = parser->rest;
        if (protocol->value == MULTIADDR_VALUE_PATH)
            parser->rest.length = 0;
        else
            chars = take(&parser->rest);
        if (chars.length == 0)
            return fail_value(parser, protocol, chars);
        read_value(&value, protocol, chars);
        if (value.failed || !multiaddr_protocol_takes(protocol, (struct wire_span){bytes, value.length}))
            return chars.length > MULTIADDR_BYTES_MAX ? fail_length(parser, protocol)
                                                      : fail_value(parser, protocol, chars);
    }
    int error = multiaddr_append(&parser->made, protocol->code, bytes, value.length);
    assert(error == 0 || error == P2P_ERR_CALL_SHORT);
    return error == 0 ? 0 : fail_length(parser, protocol);
}

int multiaddr_from_chars(struct multiaddr *m, const char *text, size_t length,
                         char *error_text, size_t error_text_bytes)
{
    struct parser parser = {{0, {0}}, {text, length}, error_text, error_text_bytes};
    if (length == 0)
        return fail(&parser, P2P_ERR_CALL_MALFORMED,
                    "the address is empty; write one as in /ip4/192.0.2.1/tcp/3333");
    if (text[0] != '/') {
        char reason[MULTIADDR_ERROR_SIZE], quoted[QUOTE_CHARS_MAX + 6];
        snprintf(reason, sizeof(reason),
                 "%s does not begin with a slash; write an address as in /ip4/192.0.2.1/tcp/3333",
                 quote(quoted, parser.rest));
        return fail(&parser, P2P_ERR_CALL_MALFORMED, reason);
    }
    parser.rest.text++;
    parser.rest.length--;
    while (parser.rest.length > 0 && parser.rest.text[parser.rest.length - 1] == '/')
        parser.rest.length--;
    if (parser.rest.length == 0)
        return fail(&parser, P2P_ERR_CALL_MALFORMED,
                    "the address has no protocol; write one as in /ip4/192.0.2.1/tcp/3333");
    while (parser.rest.length > 0) {
        int error = parse_component(&parser);
        if (error != 0)
            return error;
    }
    *m = parser.made;
    return 0;
}

int multiaddr_from_text(struct multiaddr *m, const char *text, char *error_text, size_t error_text_bytes)
{
    return multiaddr_from_chars(m, text, strlen(text), error_text, error_text_bytes);
}

/* ---- to text ---- */

static void put(struct wire_writer *out, const char *text)
{
    wire_write_bytes(out, (const uint8_t *)text, strlen(text));
}

static void put_number(struct wire_writer *out, uint64_t number)
{
    char text[24];
    snprintf(text, sizeof(text), "%" PRIu64, number);
    put(out, text);
}

static void put_ip6(struct wire_writer *out, const uint8_t ip[16])
{
    static const uint8_t zeros[12];
    char text[INET6_ADDRSTRLEN];
    /* glibc writes the deprecated v4-compatible addresses as ::1.2.3.4, everybody else as hexadecimal. */
    if (memcmp(ip, zeros, 12) == 0 && (ip[12] != 0 || ip[13] != 0))
        snprintf(text, sizeof(text), "::%x:%x", ip[12] << 8 | ip[13], ip[14] << 8 | ip[15]);
    else
        inet_ntop(AF_INET6, ip, text, sizeof(text));
    put(out, text);
}

static void put_escaped(struct wire_writer *out, struct wire_span value)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < value.length; i++) {
        uint8_t byte = value.data[i];
        if (byte != 0 && strchr(plain, byte)) {
            wire_write_u8(out, byte);
            continue;
        }
        wire_write_u8(out, '%');
        wire_write_u8(out, (uint8_t)digits[byte >> 4]);
        wire_write_u8(out, (uint8_t)digits[byte & 15]);
    }
}

/* As it is where that reads well and back to the same bytes, else escaped. */
static void put_path(struct wire_writer *out, struct wire_span path)
{
    for (size_t i = 0; i < path.length; i++) {
        if (path.data[i] <= ' ' || path.data[i] > '~' || path.data[i] == '%') {
            put_escaped(out, path);
            return;
        }
    }
    wire_write_bytes(out, path.data + 1, path.length - 1);
}

static void put_base(struct wire_writer *out, enum base_kind kind, struct wire_span value)
{
    char text[VALUE_TEXT_SIZE];
    int error = base_encode(text, sizeof(text), NULL, kind, value.data, value.length);
    assert(error == 0);
    put(out, text);
}

static void put_value(struct wire_writer *out, const struct multiaddr_protocol *protocol,
                      struct wire_span value)
{
    char text[INET_ADDRSTRLEN];
    struct wire_reader reader = wire_reader_of(value.data, value.length);
    switch (protocol->value) {
    case MULTIADDR_VALUE_IP4:
        put(out, inet_ntop(AF_INET, value.data, text, sizeof(text)));
        break;
    case MULTIADDR_VALUE_IP6:
        put_ip6(out, value.data);
        break;
    case MULTIADDR_VALUE_PORT:
        put_number(out, wire_read_u16(&reader));
        break;
    case MULTIADDR_VALUE_CIDR:
        put_number(out, wire_read_u8(&reader));
        break;
    case MULTIADDR_VALUE_NUMBER:
        put_number(out, wire_read_u64(&reader));
        break;
    case MULTIADDR_VALUE_PATH:
        put_path(out, value);
        break;
    case MULTIADDR_VALUE_PEER:
        put_base(out, BASE_58, value);
        break;
    case MULTIADDR_VALUE_HASH:
        put(out, "u");
        put_base(out, BASE_64_URL, value);
        break;
    case MULTIADDR_VALUE_HTTP_PATH:
        put_escaped(out, value);
        break;
    default:
        wire_write_bytes(out, value.data, value.length);
    }
}

int multiaddr_to_text(const struct multiaddr *m, char *text, size_t size)
{
    if (size == 0)
        return P2P_ERR_CALL_SHORT;
    struct wire_writer out = wire_writer_of((uint8_t *)text, size - 1);
    struct multiaddr_component component;
    size_t offset = 0;
    while (multiaddr_next(m, &offset, &component)) {
        const struct multiaddr_protocol *protocol = multiaddr_protocol_by_code((uint64_t)component.code);
        put(&out, "/");
        put(&out, protocol->name);
        if (protocol->value == MULTIADDR_VALUE_NONE)
            continue;
        put(&out, "/");
        put_value(&out, protocol, component.value);
    }
    text[out.failed ? 0 : out.length] = '\0';
    return out.failed ? P2P_ERR_CALL_SHORT : (int)out.length;
}
