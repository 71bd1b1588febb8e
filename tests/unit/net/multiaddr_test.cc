#include <gtest/gtest.h>

#include <arpa/inet.h>

extern "C" {
#include "chorus/p2p.h"
#include "net/multiaddr.h"
#include "net/multiaddr_protocol.h"
}
#include "tests/unit/crypto/support.h"

namespace {

const char ED25519_ID[] = "12D3KooWCryG7Mon9orvQxcS1rYZjotPgpwoJNHHKcLLfE4Hf5mV";
const char HASHED_ID[] = "QmcgpsyWgH8Y8ajJz1Cu72KnS5uo2Aa2LpzU7kinSupNKC";

struct multiaddr addr(const std::string &text)
{
    struct multiaddr m = {};
    char error[MULTIADDR_ERROR_SIZE] = "";

    EXPECT_EQ(multiaddr_from_chars(&m, text.data(), text.size(), error, sizeof(error)), 0) << error;
    return m;
}

std::string text_of(const struct multiaddr &m)
{
    char text[MULTIADDR_TEXT_SIZE];
    int length = multiaddr_to_text(&m, text, sizeof(text));

    EXPECT_GE(length, 0);
    EXPECT_EQ((size_t)length, strlen(text));
    return text;
}

std::string hex_of(const struct multiaddr &m)
{
    return to_hex(m.bytes, m.length);
}

int from_hex(const std::string &text, struct multiaddr *m)
{
    Bytes bytes = hex(text);

    return multiaddr_from_bytes(m, bytes.data(), bytes.size());
}

int from_hex(const std::string &text)
{
    struct multiaddr m;

    return from_hex(text, &m);
}

struct peer_id peer(const char *text)
{
    struct peer_id id = {};

    EXPECT_EQ(peer_id_from_text(&id, text, strlen(text)), 0);
    return id;
}

std::string repeat(const std::string &text, size_t times)
{
    std::string all;

    while (times-- > 0)
        all += text;
    return all;
}

} // namespace

/* ---- bytes and text ---- */

TEST(Multiaddr, ReadsAndWritesWhatGoDoes)
{
    std::vector<Record> records = read_records("multiaddr.txt");

    ASSERT_GT(records.size(), 60u);
    for (const Record &record : records) {
        SCOPED_TRACE(record.text("text"));
        std::string canonical = record.has("canonical") ? record.text("canonical") : record.text("text");
        struct multiaddr parsed = addr(record.text("text")), read;

        EXPECT_EQ(hex_of(parsed), record.text("bytes"));
        EXPECT_EQ(text_of(parsed), canonical);
        ASSERT_EQ(from_hex(record.text("bytes"), &read), 0);
        EXPECT_TRUE(multiaddr_equal(&read, &parsed));
        EXPECT_EQ(text_of(read), canonical);
    }
}

TEST(Multiaddr, KnowsEveryCodeByItsName)
{
    /* multiformats/multiaddr, protocols.csv */
    const struct {
        uint32_t code;
        const char *name;
    } rows[] = {
        {4, "ip4"}, {6, "tcp"}, {33, "dccp"}, {41, "ip6"}, {42, "ip6zone"}, {43, "ipcidr"}, {53, "dns"},
        {54, "dns4"}, {55, "dns6"}, {56, "dnsaddr"}, {132, "sctp"}, {273, "udp"}, {276, "p2p-webrtc-direct"},
        {280, "webrtc-direct"}, {281, "webrtc"}, {290, "p2p-circuit"}, {301, "udt"}, {302, "utp"},
        {400, "unix"}, {421, "p2p"}, {443, "https"}, {448, "tls"}, {449, "sni"}, {454, "noise"},
        {460, "quic"},
        {461, "quic-v1"}, {465, "webtransport"}, {466, "certhash"}, {477, "ws"}, {478, "wss"}, {480, "http"},
        {481, "http-path"}, {777, "memory"}, {7367777, "plaintextv2"},
    };
    for (const auto &row : rows) {
        const struct multiaddr_protocol *protocol = multiaddr_protocol_by_code(row.code);
        ASSERT_NE(protocol, nullptr) << row.name;
        EXPECT_STREQ(protocol->name, row.name);
    }
    EXPECT_EQ(multiaddr_protocol_by_code(5), nullptr);
}

TEST(Multiaddr, RefusesTextThatGoRefuses)
{
    /* multiformats/go-multiaddr v0.16.1, multiaddr_test.go, TestConstructFails */
    const char *rows[] = {
        "/ip4", "/ip4/::1", "/ip4/fdpsofodsajfdoisa", "/ip4/::/ipcidr/256", "/ip6/::/ipcidr/1026", "/ip6",
        "/ip6zone", "/ip6zone/", "/ip6zone//ip6/fe80::1", "/udp", "/tcp", "/sctp", "/udp/65536", "/tcp/65536",
        "/quic/65536", "/quic-v1/65536", "/udp/1234/sctp", "/udp/1234/udt/1234", "/udp/1234/utp/1234",
        "/ip4/127.0.0.1/udp/jfodsajfidosajfoidsa", "/ip4/127.0.0.1/udp",
        "/ip4/127.0.0.1/tcp/jfodsajfidosajfoidsa", "/ip4/127.0.0.1/tcp",
         "/ip4/127.0.0.1/quic/1234", "/ip4/127.0.0.1/quic-v1/1234",
        "/ip4/127.0.0.1/udp/1234/quic-v1/webtransport/certhash",
        "/ip4/127.0.0.1/udp/1234/quic-v1/webtransport/certhash/b2uaraocy6yrdblb4sfptaddgimjmmp",
        "/ip4/127.0.0.1/ipfs", "/ip4/127.0.0.1/ipfs/tcp", "/ip4/127.0.0.1/p2p", "/ip4/127.0.0.1/p2p/tcp",
        "/unix",
        "/ip4/1.2.3.4/tcp/80/unix", "/ip4/1.2.3.4/tcp/-1", "/ip4/127.0.0.1/tcp/9090/http/p2p-webcrt-direct",
        "/memory/92233720368547758081", "/", "", "/p2p/QmxoHT6iViN5xAjoz1VZ553cL31U9F94ht3QvWR1FrEbZY",
    };
    for (const char *text : rows) {
        struct multiaddr m = {7, {1, 2, 3}}, before = m;
        char error[MULTIADDR_ERROR_SIZE] = "";

        EXPECT_LT(multiaddr_from_text(&m, text, error, sizeof(error)), 0) << text;
        EXPECT_EQ(memcmp(&m, &before, sizeof(m)), 0) << "untouched: " << text;
        EXPECT_GT(strlen(error), 0u) << text;
    }
}

TEST(Multiaddr, RefusesMoreBadText)
{
    const char *rows[] = {
        "ip4/1.2.3.4", "1.2.3.4:3333", "//ip4/1.2.3.4", "/ip4//1.2.3.4", "/ip4/1.2.3.4//tcp/1",
        "/ip4/01.2.3.4", "/ip4/1.2.3", "/ip4/1.2.3.4.5", "/ip4/256.1.1.1", "/ip4/ 1.2.3.4", "/ip6/1.2.3.4",
        "/ip6/fe80::1%eth0",
        "/ip6/[::1]", "/ip6/12345::", "/tcp/+1", "/tcp/1 ", "/tcp/0x10", "/tcp/99999999999999999999999",
        "/memory/18446744073709551616", "/IP4/1.2.3.4", "/dns/a b", "/dns/\xc3\xa4.de", "/dns/a\nb", "/sni/",
        "/http-path/", "/http-path/%2", "/http-path/%zz", "/unix/%2F", "/unix/%2Ftmp%2Fx.sock/p2p",
        "/unix/%2Ftmp%00x", "/unix/%2Ftmp%2", "/certhash/uEi", "/certhash/", "/p2p/12D3KooW", "/foo/bar",
        "/\x01",
    };
    for (const char *text : rows) {
        struct multiaddr m = {};
        EXPECT_LT(multiaddr_from_text(&m, text, nullptr, 0), 0) << text;
    }
    struct multiaddr m = {};
    EXPECT_EQ(multiaddr_from_chars(&m, "/ip4/1.2.3.4\0", 13, nullptr, 0), P2P_ERR_CALL_MALFORMED);
    EXPECT_EQ(multiaddr_from_chars(&m, "/dns/a\0b", 8, nullptr, 0), P2P_ERR_CALL_MALFORMED);
    EXPECT_EQ(multiaddr_from_chars(&m, "/unix/a\0b", 9, nullptr, 0), P2P_ERR_CALL_MALFORMED);
}

TEST(Multiaddr, ErrorsNameTheComponentTheReasonAndTheRemedy)
{
    const struct {
        const char *text, *error;
    } rows[] = {
        {"", "the address is empty; write one as in /ip4/192.0.2.1/tcp/3333"},
        {"/", "the address has no protocol; write one as in /ip4/192.0.2.1/tcp/3333"},
        {"1.2.3.4:3333",
         "\"1.2.3.4:3333\" does not begin with a slash; write an address as in /ip4/192.0.2.1/tcp/3333"},
        {"/tpc/1", "\"tpc\" is not a protocol known here; write one as in /ip4/192.0.2.1/tcp/3333"},
        {"/ip4/1.2.3.4//tcp/1",
         "\"//\": a protocol is missing between the slashes; write one slash, or the protocol"},
        {"/ip4/1.2.3", "/ip4: \"1.2.3\" is not an IPv4 address; write four numbers from 0 to 255, "
                       "as in /ip4/192.0.2.1"},
        {"/ip4/1.2.3.4/tcp/65536", "/tcp: \"65536\" is not a port; write a number from 0 to 65535"},
        {"/ip4/1.2.3.4/tcp", "/tcp needs a port; write a number from 0 to 65535"},
        {"/p2p/Qm", "/p2p: \"Qm\" is not a peer id; write one of the form 12D3KooW..., Qm..., or its CID"},
        {"/dns/\x1b[1m", "/dns: \"?[1m\" is not a DNS name; write at most 253 printable ASCII characters "
                         "(xn--... for others)"},
    };
    for (const auto &row : rows) {
        struct multiaddr m;
        char error[MULTIADDR_ERROR_SIZE] = "";
        EXPECT_LT(multiaddr_from_text(&m, row.text, error, sizeof(error)), 0);
        EXPECT_STREQ(error, row.error);
    }
}

TEST(Multiaddr, ErrorTextIsBoundedAndPrintable)
{
    std::string text = "/p2p/" + repeat("\x1b\x80", 5000);
    struct multiaddr m;
    char error[MULTIADDR_ERROR_SIZE], small[8];

    EXPECT_EQ(multiaddr_from_text(&m, text.c_str(), error, sizeof(error)), P2P_ERR_CALL_UNSUPPORTED);
    text = "/tcp/" + repeat("\x1b\x80", 100);
    EXPECT_EQ(multiaddr_from_text(&m, text.c_str(), error, sizeof(error)), P2P_ERR_CALL_MALFORMED);
    EXPECT_LT(strlen(error), 160u);
    for (const char *c = error; *c; c++)
        EXPECT_TRUE(*c >= ' ' && *c <= '~');
    EXPECT_EQ(multiaddr_from_text(&m, text.c_str(), small, sizeof(small)), P2P_ERR_CALL_MALFORMED);
    EXPECT_STREQ(small, "/tcp: \"");
}

TEST(Multiaddr, RefusesMalformedBytes)
{
    EXPECT_EQ(from_hex(""), P2P_ERR_CALL_MALFORMED);
    EXPECT_EQ(from_hex("04010203"), P2P_ERR_CALL_MALFORMED) << "cut value";
    EXPECT_EQ(from_hex("0401020304" "06"), P2P_ERR_CALL_MALFORMED) << "value missing";
    EXPECT_EQ(from_hex("8400" "01020304"), P2P_ERR_CALL_MALFORMED) << "code not minimal";
    EXPECT_EQ(from_hex("35810061"), P2P_ERR_CALL_MALFORMED) << "length not minimal";
    EXPECT_EQ(from_hex("ffffffffffffffffffff01"), P2P_ERR_CALL_MALFORMED) << "varint too long";
    EXPECT_EQ(from_hex("35ffffffffffffffff7f"), P2P_ERR_CALL_MALFORMED) << "length beyond the end";
    EXPECT_EQ(from_hex("05"), P2P_ERR_CALL_UNSUPPORTED) << "unknown code";
    EXPECT_EQ(from_hex("bc039a18087306369043091f04d2"), P2P_ERR_CALL_UNSUPPORTED) << "onion";
    EXPECT_EQ(from_hex("3500"), P2P_ERR_CALL_MALFORMED) << "empty name";
    EXPECT_EQ(from_hex("3503612f62"), P2P_ERR_CALL_MALFORMED) << "slash in a name";
    EXPECT_EQ(from_hex("350161" "3502610a"), P2P_ERR_CALL_MALFORMED) << "line end in a name";
    EXPECT_EQ(from_hex("2a03782f79"), P2P_ERR_CALL_MALFORMED) << "slash in a zone";
    EXPECT_EQ(from_hex("9003012f"), P2P_ERR_CALL_MALFORMED) << "path of nothing";
    EXPECT_EQ(from_hex("90030261" "62"), P2P_ERR_CALL_MALFORMED) << "path not absolute";
    EXPECT_EQ(from_hex("9003032f612f"), P2P_ERR_CALL_MALFORMED) << "path ends in a slash";
    EXPECT_EQ(from_hex("9003032f0061"), P2P_ERR_CALL_MALFORMED) << "NUL in a path";
    EXPECT_EQ(from_hex("9003022f61" "060001"), P2P_ERR_CALL_MALFORMED) << "component after a path";
    EXPECT_EQ(from_hex("a50300"), P2P_ERR_CALL_MALFORMED) << "no peer id";
    EXPECT_EQ(from_hex("a503041114aabb"), P2P_ERR_CALL_MALFORMED) << "sha1 peer id";
    EXPECT_EQ(from_hex("a503031201aa"), P2P_ERR_CALL_MALFORMED) << "sha256 of one byte";
    EXPECT_EQ(from_hex("d2030212ff"), P2P_ERR_CALL_MALFORMED) << "certhash no multihash";
    EXPECT_EQ(from_hex("e10300"), P2P_ERR_CALL_MALFORMED) << "empty http path";
}

TEST(Multiaddr, EveryCutOfAnAddressIsItsBeginningOrRefused)
{
    for (const Record &record : read_records("multiaddr.txt")) {
        Bytes bytes = record.bytes("bytes");
        struct multiaddr whole, cut;
        ASSERT_EQ(multiaddr_from_bytes(&whole, bytes.data(), bytes.size()), 0);
        for (size_t length = 0; length < bytes.size(); length++) {
            Bytes exact(bytes.begin(), bytes.begin() + (long)length);
            if (multiaddr_from_bytes(&cut, exact.data(), exact.size()) != 0)
                continue;
            std::string text = text_of(cut);
            EXPECT_EQ(text_of(whole).compare(0, text.size(), text), 0);
        }
    }
}

TEST(Multiaddr, HasABound)
{
    std::string longest = "/unix/" + std::string(MULTIADDR_BYTES_MAX - 5, 'a'); /* code 2, length 2, slash */
    struct multiaddr m = addr(longest);
    char error[MULTIADDR_ERROR_SIZE];

    EXPECT_EQ(m.length, MULTIADDR_BYTES_MAX);
    EXPECT_EQ(text_of(m), longest);
    EXPECT_EQ(multiaddr_from_text(&m, (longest + "a").c_str(), error, sizeof(error)),
              P2P_ERR_CALL_UNSUPPORTED);
    EXPECT_STREQ(error, "/unix: with it the address takes more than 254 bytes; shorten it");
    EXPECT_EQ(multiaddr_from_text(&m, repeat("/tcp/1", 85).c_str(), error, sizeof(error)),
              P2P_ERR_CALL_UNSUPPORTED);
    EXPECT_EQ(from_hex(repeat("060001", 85)), P2P_ERR_CALL_UNSUPPORTED);
    EXPECT_EQ(multiaddr_append(&m, MULTIADDR_TCP, (const uint8_t *)"\0\1", 2), P2P_ERR_CALL_MALFORMED);
    m = addr(repeat("/tcp/1", 84));
    EXPECT_EQ(multiaddr_append(&m, MULTIADDR_TCP, (const uint8_t *)"\0\1", 2), P2P_ERR_CALL_SHORT);
    EXPECT_EQ(m.length, 84 * 3);
}

TEST(Multiaddr, TheLongestTextFitsItsBuffer)
{
    std::string webrtc = repeat("/p2p-webrtc-direct", MULTIADDR_BYTES_MAX / 2);
    struct multiaddr m = addr(webrtc);
    char text[MULTIADDR_TEXT_SIZE];

    EXPECT_EQ(text_of(m), webrtc);
    EXPECT_LT(webrtc.size(), (size_t)MULTIADDR_TEXT_SIZE);
    for (size_t size = 0; size < 20; size++)
        EXPECT_EQ(multiaddr_to_text(&m, text, size), P2P_ERR_CALL_SHORT);
    EXPECT_EQ(multiaddr_to_text(&m, text, webrtc.size()), P2P_ERR_CALL_SHORT);
    EXPECT_STREQ(text, "");
    EXPECT_EQ(multiaddr_to_text(&m, text, webrtc.size() + 1), (int)webrtc.size());
    struct multiaddr none = {};
    EXPECT_EQ(multiaddr_to_text(&none, text, 1), 0);
    EXPECT_STREQ(text, "");
    /* 251 bytes of a value, each escaped */
    Bytes path = concat({hex("90030000"), Bytes(250, 0x80)});
    path[2] = 0xfa, path[3] = 0x01, path[4] = '/';
    ASSERT_EQ(multiaddr_from_bytes(&m, path.data(), path.size()), 0);
    EXPECT_EQ(text_of(m), "/unix/%2F" + repeat("%80", 249));
}

TEST(Multiaddr, ReadsBothFormsOfAUnixPath)
{
    EXPECT_EQ(hex_of(addr("/unix/tmp/x.sock")), "90030b2f746d702f782e736f636b");
    EXPECT_EQ(hex_of(addr("/unix/%2Ftmp%2Fx.sock")), "90030b2f746d702f782e736f636b");
    EXPECT_EQ(hex_of(addr("/unix/%2ftmp%2fx.sock/")), "90030b2f746d702f782e736f636b");
    EXPECT_EQ(text_of(addr("/unix/%2Ftmp%2Fx.sock")), "/unix/tmp/x.sock");
    EXPECT_EQ(text_of(addr("/unix//tmp//x")), "/unix//tmp//x");
    EXPECT_EQ(text_of(addr("/unix/a b")), "/unix/%2Fa%20b") << "what would not survive a line is escaped";
    EXPECT_EQ(text_of(addr("/unix/50%")), "/unix/%2F50%25");
    EXPECT_EQ(hex_of(addr("/unix/%2F50%25")), hex_of(addr("/unix/50%")));
}

TEST(Multiaddr, EscapesHttpPaths)
{
    EXPECT_EQ(text_of(addr("/http-path/a%20b+c%2F")), "/http-path/a%20b%2Bc%2F");
    EXPECT_EQ(hex_of(addr("/http-path/%00")), "e1030100");
}

/* ---- looking inside ---- */

TEST(Multiaddr, WalksItsComponents)
{
    struct multiaddr m = addr("/ip4/1.2.3.4/udp/5/quic-v1/p2p-circuit");
    struct multiaddr_component c;
    size_t offset = 0;

    ASSERT_TRUE(multiaddr_next(&m, &offset, &c));
    EXPECT_EQ(c.code, MULTIADDR_IP4);
    EXPECT_EQ(to_hex(c.value.data, c.value.length), "01020304");
    ASSERT_TRUE(multiaddr_next(&m, &offset, &c));
    EXPECT_EQ(c.code, MULTIADDR_UDP);
    EXPECT_EQ(c.offset, 5u);
    EXPECT_EQ(to_hex(c.value.data, c.value.length), "0005");
    ASSERT_TRUE(multiaddr_next(&m, &offset, &c));
    EXPECT_EQ(c.code, MULTIADDR_QUIC_V1);
    EXPECT_EQ(c.value.length, 0u);
    ASSERT_TRUE(multiaddr_next(&m, &offset, &c));
    EXPECT_FALSE(multiaddr_next(&m, &offset, &c));
    EXPECT_TRUE(multiaddr_find(&m, MULTIADDR_UDP, &c));
    EXPECT_FALSE(multiaddr_find(&m, MULTIADDR_TCP, &c));
    EXPECT_TRUE(multiaddr_is_relayed(&m));
    struct multiaddr none = {};
    offset = 0;
    EXPECT_FALSE(multiaddr_next(&none, &offset, &c));
}

TEST(Multiaddr, ComparesBytes)
{
    struct multiaddr a = addr("/ip4/1.2.3.4/tcp/1"), b = addr("/ip4/1.2.3.4/tcp/1/");
    struct multiaddr c = addr("/ip4/1.2.3.4");

    memset(b.bytes + b.length, 0xff, sizeof(b.bytes) - b.length);
    EXPECT_TRUE(multiaddr_equal(&a, &b));
    EXPECT_FALSE(multiaddr_equal(&a, &c));
}

TEST(Multiaddr, KnowsWhereItLeads)
{
    const struct {
        const char *text;
        enum multiaddr_scope scope;
    } rows[] = {
        {"/ip4/0.0.0.0/tcp/1", MULTIADDR_SCOPE_UNSPECIFIED},
        {"/ip6/::/tcp/1", MULTIADDR_SCOPE_UNSPECIFIED},
        {"/ip4/127.0.0.1/tcp/1", MULTIADDR_SCOPE_LOOPBACK},
        {"/ip4/127.255.0.1", MULTIADDR_SCOPE_LOOPBACK},
        {"/ip6/::1", MULTIADDR_SCOPE_LOOPBACK},
        {"/ip6/::ffff:127.0.0.1", MULTIADDR_SCOPE_LOOPBACK},
        {"/dns/localhost/tcp/1", MULTIADDR_SCOPE_LOOPBACK},
        {"/dns4/a.LOCALHOST./tcp/1", MULTIADDR_SCOPE_LOOPBACK},
        {"/ip4/169.254.1.1", MULTIADDR_SCOPE_LINK_LOCAL},
        {"/ip6/fe80::1", MULTIADDR_SCOPE_LINK_LOCAL},
        {"/ip6/febf::1", MULTIADDR_SCOPE_LINK_LOCAL},
        {"/ip6zone/eth0/ip6/fe80::1/tcp/1", MULTIADDR_SCOPE_LINK_LOCAL},
        {"/ip4/10.0.0.1", MULTIADDR_SCOPE_PRIVATE},
        {"/ip4/100.64.0.1", MULTIADDR_SCOPE_PRIVATE},
        {"/ip4/100.127.255.255", MULTIADDR_SCOPE_PRIVATE},
        {"/ip4/172.16.0.1", MULTIADDR_SCOPE_PRIVATE},
        {"/ip4/172.31.255.255", MULTIADDR_SCOPE_PRIVATE},
        {"/ip4/192.168.0.1", MULTIADDR_SCOPE_PRIVATE},
        {"/ip6/fd00::1", MULTIADDR_SCOPE_PRIVATE},
        {"/ip6/::ffff:10.0.0.1", MULTIADDR_SCOPE_PRIVATE},
        {"/dns/printer.local/tcp/1", MULTIADDR_SCOPE_PRIVATE},
        {"/ip4/0.1.2.3", MULTIADDR_SCOPE_RESERVED},
        {"/ip4/192.0.2.1", MULTIADDR_SCOPE_RESERVED},
        {"/ip4/198.19.255.255", MULTIADDR_SCOPE_RESERVED},
        {"/ip4/224.0.0.1", MULTIADDR_SCOPE_RESERVED},
        {"/ip4/255.255.255.255", MULTIADDR_SCOPE_RESERVED},
        {"/ip6/ff02::1", MULTIADDR_SCOPE_RESERVED},
        {"/ip6/2001:db8::1", MULTIADDR_SCOPE_RESERVED},
        {"/ip6/::2", MULTIADDR_SCOPE_RESERVED},
        {"/ip6/4000::1", MULTIADDR_SCOPE_RESERVED},
        {"/dns/x.invalid", MULTIADDR_SCOPE_RESERVED},
        {"/ip4/100.128.0.1", MULTIADDR_SCOPE_PUBLIC},
        {"/ip4/172.32.0.1", MULTIADDR_SCOPE_PUBLIC},
        {"/ip4/1.1.1.1/tcp/1", MULTIADDR_SCOPE_PUBLIC},
        {"/ip4/223.255.255.255", MULTIADDR_SCOPE_PUBLIC},
        {"/ip6/2606:4700::1111", MULTIADDR_SCOPE_PUBLIC},
        {"/ip6/64:ff9b::1.1.1.1", MULTIADDR_SCOPE_PUBLIC},
        {"/ip6/64:ff9b:1:2::3", MULTIADDR_SCOPE_PUBLIC},
        {"/dns/example.com/tcp/1", MULTIADDR_SCOPE_PUBLIC},
        {"/dnsaddr/notlocalhost", MULTIADDR_SCOPE_PUBLIC},
        {"/unix/x", MULTIADDR_SCOPE_NONE},
        {"/memory/1", MULTIADDR_SCOPE_NONE},
        {"/tcp/1", MULTIADDR_SCOPE_NONE},
        {"/ip6zone/eth0", MULTIADDR_SCOPE_NONE},
        {"/p2p-circuit", MULTIADDR_SCOPE_NONE},
    };
    for (const auto &row : rows) {
        struct multiaddr m = addr(row.text);
        EXPECT_EQ(multiaddr_scope(&m), row.scope) << row.text;
    }
    struct multiaddr none = {};
    EXPECT_EQ(multiaddr_scope(&none), MULTIADDR_SCOPE_NONE);
}

TEST(Multiaddr, KnowsWhatCanBeDialed)
{
    const std::string id = std::string("/p2p/") + ED25519_ID;
    const struct {
        std::string text;
        bool tcp, dialable, resolvable;
    } rows[] = {
        {"/ip4/1.2.3.4/tcp/1", true, true, false},
        {"/ip4/1.2.3.4/tcp/1" + id, true, true, false},
        {"/ip6/::1/tcp/1" + id, true, true, false},
        {"/ip6zone/eth0/ip6/fe80::1/tcp/1", true, true, false},
        {"/ip6/fe80::1/tcp/1", true, false, false},
        {"/ip4/169.254.1.1/tcp/1", true, true, false},
        {"/ip4/0.0.0.0/tcp/1", true, false, false},
        {"/ip6/::/tcp/1", true, false, false},
        {"/ip4/1.2.3.4/tcp/0", true, false, false},
        {"/ip4/1.2.3.4", false, false, false},
        {"/ip4/1.2.3.4/udp/1", false, false, false},
        {"/ip4/1.2.3.4/tcp/1/ws", false, false, false},
        {"/ip4/1.2.3.4/tcp/1" + id + "/p2p-circuit", false, false, false},
        {"/ip4/1.2.3.4/tcp/1" + id + id, false, false, false},
        {"/ip6zone/eth0/ip4/1.2.3.4/tcp/1", false, false, false},
        {"/ip6zone/eth0", false, false, false},
        {"/tcp/1", false, false, false},
        {id, false, false, false},
        {"/dns/a/tcp/1" + id, false, false, true},
        {"/dns4/a/tcp/1", false, false, true},
        {"/dns6/a/tcp/1", false, false, true},
        {"/dns/a/tcp/0", false, false, false},
        {"/dns/a/udp/1/quic-v1", false, false, false},
        {"/dns/a", false, false, false},
        {"/dnsaddr/a", false, false, true},
        {"/dnsaddr/a" + id, false, false, true},
    };
    for (const auto &row : rows) {
        struct multiaddr m = addr(row.text);
        EXPECT_EQ(multiaddr_is_tcp(&m), row.tcp) << row.text;
        EXPECT_EQ(multiaddr_is_dialable_tcp(&m), row.dialable) << row.text;
        EXPECT_EQ(multiaddr_is_resolvable(&m), row.resolvable) << row.text;
    }
}

/* ---- sockets and names ---- */

TEST(Multiaddr, BecomesASocketAddressAndBack)
{
    for (const char *text :
         {"/ip4/1.2.3.4/tcp/3333", "/ip6/2001:db8::1/tcp/0", "/ip6zone/7/ip6/fe80::1/tcp/1"}) {
        struct multiaddr m = addr(text), back;
        struct sockaddr_storage address;
        socklen_t length;
        ASSERT_EQ(multiaddr_to_sockaddr(&m, &address, &length, 0), 0);
        ASSERT_EQ(multiaddr_from_sockaddr(&back, (struct sockaddr *)&address), 0);
        EXPECT_EQ(text_of(back), text);
    }
}

TEST(Multiaddr, FillsSocketAddresses)
{
    struct multiaddr m = addr(std::string("/ip4/1.2.3.4/tcp/258/p2p/") + HASHED_ID);
    struct sockaddr_storage address;
    socklen_t length = 0;

    ASSERT_EQ(multiaddr_to_sockaddr(&m, &address, &length, 0), 0);
    const struct sockaddr_in *in = (const struct sockaddr_in *)&address;
    EXPECT_EQ(length, sizeof(*in));
    EXPECT_EQ(in->sin_family, AF_INET);
    EXPECT_EQ(in->sin_port, htons(258));
    EXPECT_EQ(in->sin_addr.s_addr, htonl(0x01020304));

    m = addr("/ip6zone/eth0/ip6/fe80::1/tcp/258");
    EXPECT_EQ(multiaddr_to_sockaddr(&m, &address, &length, 0), P2P_ERR_CALL_NOT_FOUND);
    ASSERT_EQ(multiaddr_to_sockaddr(&m, &address, &length, 3), 0);
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&address;
    EXPECT_EQ(length, sizeof(*in6));
    EXPECT_EQ(in6->sin6_scope_id, 3u);
    m = addr("/ip6zone/99999999999/ip6/fe80::1/tcp/258");
    EXPECT_EQ(multiaddr_to_sockaddr(&m, &address, &length, 0), P2P_ERR_CALL_NOT_FOUND);
    m = addr("/ip4/1.2.3.4/udp/1");
    EXPECT_EQ(multiaddr_to_sockaddr(&m, &address, &length, 0), P2P_ERR_CALL_UNSUPPORTED);
}

TEST(Multiaddr, ReadsSocketAddresses)
{
    struct sockaddr_in6 in6 = {};
    struct multiaddr m = {};

    in6.sin6_family = AF_INET6;
    in6.sin6_port = htons(9);
    inet_pton(AF_INET6, "::ffff:1.2.3.4", &in6.sin6_addr);
    ASSERT_EQ(multiaddr_from_sockaddr(&m, (struct sockaddr *)&in6), 0);
    EXPECT_EQ(text_of(m), "/ip4/1.2.3.4/tcp/9");
    inet_pton(AF_INET6, "fe80::1", &in6.sin6_addr);
    in6.sin6_scope_id = UINT32_MAX;
    ASSERT_EQ(multiaddr_from_sockaddr(&m, (struct sockaddr *)&in6), 0);
    EXPECT_EQ(text_of(m), "/ip6zone/4294967295/ip6/fe80::1/tcp/9");
    inet_pton(AF_INET6, "2001:db8::1", &in6.sin6_addr);
    ASSERT_EQ(multiaddr_from_sockaddr(&m, (struct sockaddr *)&in6), 0);
    EXPECT_EQ(text_of(m), "/ip6/2001:db8::1/tcp/9");
    in6.sin6_family = AF_UNIX;
    EXPECT_EQ(multiaddr_from_sockaddr(&m, (struct sockaddr *)&in6), P2P_ERR_CALL_UNSUPPORTED);
    EXPECT_EQ(text_of(m), "/ip6/2001:db8::1/tcp/9") << "untouched";
}

TEST(Multiaddr, TellsItsZone)
{
    struct multiaddr m = addr("/ip6zone/enp0s31f6/ip6/fe80::1/tcp/1");
    char zone[MULTIADDR_ZONE_SIZE];

    ASSERT_EQ(multiaddr_zone(&m, zone), 0);
    EXPECT_STREQ(zone, "enp0s31f6");
    m = addr("/ip6/fe80::1");
    EXPECT_EQ(multiaddr_zone(&m, zone), P2P_ERR_CALL_NOT_FOUND);
    m = addr("/ip6zone/0123456789abcdef/ip6/fe80::1");
    EXPECT_EQ(multiaddr_zone(&m, zone), P2P_ERR_CALL_NOT_FOUND);
}

TEST(Multiaddr, NamesAreTakenOutAndReplaced)
{
    struct multiaddr m = addr(std::string("/dns4/example.com/tcp/4001/p2p/") + HASHED_ID), before = m;
    char name[MULTIADDR_HOST_SIZE];
    enum multiaddr_code kind = MULTIADDR_TCP;
    struct sockaddr_in in = {};
    uint16_t port = 0;

    ASSERT_EQ(multiaddr_host(&m, name, sizeof(name), &kind), 0);
    EXPECT_STREQ(name, "example.com");
    EXPECT_EQ(kind, MULTIADDR_DNS4);
    EXPECT_EQ(multiaddr_host(&m, name, 11, &kind), P2P_ERR_CALL_SHORT);
    EXPECT_EQ(multiaddr_port(&m, &port), 0);
    EXPECT_EQ(port, 4001);

    in.sin_family = AF_UNIX;
    EXPECT_EQ(multiaddr_resolve_host(&m, (struct sockaddr *)&in), P2P_ERR_CALL_UNSUPPORTED);
    EXPECT_TRUE(multiaddr_equal(&m, &before));
    in.sin_family = AF_INET;
    in.sin_addr.s_addr = htonl(0x01020304);
    ASSERT_EQ(multiaddr_resolve_host(&m, (struct sockaddr *)&in), 0);
    EXPECT_EQ(text_of(m), std::string("/ip4/1.2.3.4/tcp/4001/p2p/") + HASHED_ID);
    EXPECT_EQ(multiaddr_resolve_host(&m, (struct sockaddr *)&in), P2P_ERR_CALL_NOT_FOUND);
    EXPECT_EQ(multiaddr_host(&m, name, sizeof(name), &kind), P2P_ERR_CALL_NOT_FOUND);

    struct sockaddr_in6 in6 = {};
    in6.sin6_family = AF_INET6;
    m = addr("/dns/a" + repeat("/tcp/1", 83));
    EXPECT_EQ(multiaddr_resolve_host(&m, (struct sockaddr *)&in6), P2P_ERR_CALL_SHORT);
    m = addr("/ip4/1.2.3.4/p2p-circuit");
    EXPECT_EQ(multiaddr_port(&m, &port), P2P_ERR_CALL_NOT_FOUND);
}

/* ---- peer ids ---- */

TEST(Multiaddr, EndsInAPeerIdOrNot)
{
    struct multiaddr m = addr("/ip4/1.2.3.4/tcp/1");
    struct peer_id id = peer(ED25519_ID), other = peer(HASHED_ID), found;

    EXPECT_EQ(multiaddr_peer_id(&m, &found), P2P_ERR_CALL_NOT_FOUND);
    multiaddr_without_peer_id(&m);
    EXPECT_EQ(text_of(m), "/ip4/1.2.3.4/tcp/1");
    ASSERT_EQ(multiaddr_with_peer_id(&m, &id), 0);
    ASSERT_EQ(multiaddr_with_peer_id(&m, &id), 0) << "already there";
    EXPECT_EQ(text_of(m), std::string("/ip4/1.2.3.4/tcp/1/p2p/") + ED25519_ID);
    EXPECT_EQ(multiaddr_with_peer_id(&m, &other), P2P_ERR_CALL_EXISTS);
    ASSERT_EQ(multiaddr_peer_id(&m, &found), 0);
    EXPECT_TRUE(peer_id_equal(&found, &id));

    ASSERT_EQ(multiaddr_append(&m, MULTIADDR_P2P_CIRCUIT, nullptr, 0), 0);
    EXPECT_EQ(multiaddr_peer_id(&m, &found), P2P_ERR_CALL_NOT_FOUND) << "that is the relay's";
    ASSERT_EQ(multiaddr_with_peer_id(&m, &other), 0);
    ASSERT_EQ(multiaddr_peer_id(&m, &found), 0);
    EXPECT_TRUE(peer_id_equal(&found, &other));
    multiaddr_without_peer_id(&m);
    EXPECT_EQ(text_of(m), std::string("/ip4/1.2.3.4/tcp/1/p2p/") + ED25519_ID + "/p2p-circuit");

    m = addr(std::string("/p2p/") + HASHED_ID);
    multiaddr_without_peer_id(&m);
    EXPECT_TRUE(multiaddr_is_none(&m));
    m = addr(repeat("/tcp/1", 80));
    EXPECT_EQ(multiaddr_with_peer_id(&m, &id), P2P_ERR_CALL_SHORT);
    EXPECT_EQ(m.length, 240);
    ASSERT_EQ(from_hex("a503030001ff", &m), 0);
    EXPECT_EQ(multiaddr_peer_id(&m, &found), P2P_ERR_CALL_MALFORMED) << "a multihash, but of no key";
}

TEST(Multiaddr, AppendsOnlyWhatFits)
{
    struct multiaddr m = {};

    EXPECT_EQ(multiaddr_append(&m, MULTIADDR_IP4, (const uint8_t *)"abc", 3), P2P_ERR_CALL_MALFORMED);
    EXPECT_EQ(multiaddr_append(&m, MULTIADDR_QUIC_V1, (const uint8_t *)"abc", 3), P2P_ERR_CALL_MALFORMED);
    EXPECT_EQ(multiaddr_append(&m, MULTIADDR_DNS, (const uint8_t *)"a/c", 3), P2P_ERR_CALL_MALFORMED);
    EXPECT_TRUE(multiaddr_is_none(&m));
    EXPECT_EQ(multiaddr_append(&m, MULTIADDR_DNS, (const uint8_t *)"abc", 3), 0);
    EXPECT_EQ(multiaddr_append(&m, MULTIADDR_UNIX, (const uint8_t *)"/abc", 4), 0);
    EXPECT_EQ(multiaddr_append(&m, MULTIADDR_WS, nullptr, 0), P2P_ERR_CALL_MALFORMED);
    EXPECT_EQ(text_of(m), "/dns/abc/unix/abc");
    std::vector<uint8_t> name(300, 'a');
    EXPECT_EQ(multiaddr_append(&m, MULTIADDR_DNS, name.data(), name.size()), P2P_ERR_CALL_SHORT);
}

TEST(Multiaddr, RandomBytesAreReadBackAsTheyAreWritten)
{
    Random random(20);
    size_t valid = 0;

    for (unsigned i = 0; i < 200000; i++) {
        Bytes bytes = random.bytes(1 + random.below(12));
        static const uint8_t likely[] = {4, 6, 42, 43, 53, 0x90, 3, 1, '/', 0xd2};
        bytes[0] = likely[random.below(sizeof(likely))];
        struct multiaddr m, back = {};
        if (multiaddr_from_bytes(&m, bytes.data(), bytes.size()) != 0)
            continue;
        valid++;
        EXPECT_EQ(to_hex(bytes), hex_of(m));
        std::string text = text_of(m);
        ASSERT_EQ(multiaddr_from_text(&back, text.c_str(), nullptr, 0), 0) << text;
        EXPECT_TRUE(multiaddr_equal(&m, &back)) << text;
    }
    EXPECT_GT(valid, 1000u);
}
