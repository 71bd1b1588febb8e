#include <gtest/gtest.h>

extern "C" {
#include "chorus/p2p.h"
#include "net/identify.h"
}
#include "tests/unit/crypto/support.h"

namespace {

/* A peer of ours, with all it says of itself. */
struct Peer {
    struct key *key = nullptr;
    struct peer_id id;

    explicit Peer(uint8_t seed)
    {
        uint8_t bytes[KEY_SEED_BYTES];
        memset(bytes, seed, sizeof(bytes));
        EXPECT_EQ(key_new_seed(&key, bytes), 0);
        peer_id_from_public_key(&id, key_public(key));
    }
    ~Peer() { key_free(key); }
    Peer(const Peer &) = delete;

    Bytes public_key() const
    {
        const struct public_key *half = key_public(key);
        return Bytes(half->bytes, half->bytes + half->length);
    }
    Bytes record(uint64_t seq, const std::vector<struct multiaddr> &addrs) const
    {
        Bytes out(PEER_RECORD_SEALED_BYTES_MAX);
        size_t length = 0;
        EXPECT_EQ(peer_record_seal(out.data(), out.size(), &length, key, seq, addrs.data(), addrs.size()), 0);
        out.resize(length);
        return out;
    }
};

struct multiaddr addr(const std::string &text)
{
    struct multiaddr m = {};

    EXPECT_EQ(multiaddr_from_text(&m, text.c_str(), nullptr, 0), 0) << text;
    return m;
}

std::string text_of(const struct multiaddr &m)
{
    char text[MULTIADDR_TEXT_SIZE];

    EXPECT_GE(multiaddr_to_text(&m, text, sizeof(text)), 0);
    return text;
}

std::string id_text(const struct peer_id &id)
{
    char text[PEER_ID_TEXT_SIZE];

    peer_id_to_text(&id, text);
    return text;
}

/* ---- messages written by hand ---- */

Bytes varint(uint64_t value)
{
    uint8_t bytes[WIRE_VARINT_BYTES_MAX];
    struct wire_writer writer = wire_writer_of(bytes, sizeof(bytes));

    wire_write_varint(&writer, value);
    return Bytes(bytes, bytes + writer.length);
}

Bytes field(unsigned number, const Bytes &value)
{
    return concat({varint(number << 3 | 2), varint(value.size()), value});
}

Bytes field(unsigned number, const std::string &value)
{
    return field(number, bytes_of(value));
}

Bytes addr_field(const std::string &text)
{
    struct multiaddr m = addr(text);

    return field(2, Bytes(m.bytes, m.bytes + m.length));
}

Bytes message(std::initializer_list<Bytes> fields)
{
    Bytes body = concat(fields);

    return concat({varint(body.size()), body});
}

/* ---- reading ---- */

struct Reading {
    struct identify_reader reader;
    struct identify_result result;
    int error;

    Reading(const Bytes &stream, const struct peer_id &peer, size_t piece = SIZE_MAX)
    {
        identify_reader_init(&reader);
        error = 0;
        for (size_t at = 0; at < stream.size() && error == 0;) {
            size_t length = std::min(piece, stream.size() - at);
            Bytes exact(stream.begin() + (long)at, stream.begin() + (long)(at + length));
            error = identify_recv(&reader, exact.data(), exact.size());
            at += length;
        }
        int finished = identify_finish(&reader, &result, &peer);
        EXPECT_LE(reader.capacity, (uint32_t)IDENTIFY_READER_BYTES_MAX);
        if (error != 0) {
            EXPECT_EQ(finished, error) << "errors are final";
        }
        error = finished;
    }
    ~Reading() { identify_reader_fini(&reader); }
    Reading(const Reading &) = delete;

    std::vector<std::string> protocols() const
    {
        std::vector<std::string> all;
        for (size_t i = 0; i < result.protocol_count; i++)
            all.emplace_back((const char *)result.protocols[i].data, result.protocols[i].length);
        return all;
    }
    std::vector<std::string> addrs() const
    {
        std::vector<std::string> all;
        for (size_t i = 0; i < result.addr_count; i++) {
            struct multiaddr m;
            identify_addr(&result, i, &m);
            all.push_back(text_of(m));
        }
        return all;
    }
    std::string observed() const { return text_of(result.observed); }
    /* All of it, to compare two readings. */
    std::string summary() const
    {
        std::string all = std::to_string(error) + result.protocol_version + result.agent_version + observed();
        for (const std::string &text : protocols())
            all += " " + text;
        for (const std::string &text : addrs())
            all += " " + text;
        return all + std::to_string(result.record_seq) + (result.has_public_key ? "k" : "") +
               (result.key_mismatch ? "m" : "") + (result.has_signed_record ? "r" : "");
    }
};

using Strings = std::vector<std::string>;

Strings split(const std::string &text)
{
    std::istringstream words(text);
    Strings all;
    std::string word;

    while (words >> word)
        all.push_back(word);
    return all;
}

/* ---- writing ---- */

struct Info {
    struct identify_info info = {};
    Bytes key, record;
    Strings names;
    std::vector<const char *> protocols;
    std::vector<struct multiaddr> addrs;
    struct multiaddr observed = {};

    Bytes encode()
    {
        protocols.clear();
        for (const std::string &name : names)
            protocols.push_back(name.c_str());
        info.public_key = {key.data(), key.size()};
        info.signed_record = {record.data(), record.size()};
        info.protocols = protocols.data();
        info.protocol_count = protocols.size();
        info.addrs = addrs.data();
        info.addr_count = addrs.size();
        info.observed = &observed;
        Bytes out(IDENTIFY_ENCODED_BYTES_MAX);
        size_t written = 0;
        EXPECT_EQ(identify_encode(out.data(), out.size(), &written, &info), 0);
        out.resize(written);
        return out;
    }
};

/* Lengths of the messages, each with its prefix. */
std::vector<size_t> message_sizes(const Bytes &stream)
{
    struct wire_reader reader = wire_reader_of(stream.data(), stream.size());
    std::vector<size_t> sizes;

    while (!wire_done(&reader) && !reader.failed) {
        size_t start = reader.offset;
        wire_read_prefixed(&reader);
        sizes.push_back(reader.offset - start);
    }
    EXPECT_FALSE(reader.failed);
    return sizes;
}

} // namespace

/* ---- golden streams ---- */

TEST(Identify, ReadsWhatGoSends)
{
    size_t seen = 0;
    for (const Record &golden : read_records("identify.txt")) {
        if (golden.text("name").rfind("identify go", 0) != 0)
            continue;
        SCOPED_TRACE(golden.text("name"));
        struct peer_id peer;
        std::string id = golden.text("peer");
        ASSERT_EQ(peer_id_from_text(&peer, id.data(), id.size()), 0);
        Reading got(golden.bytes("stream"), peer);
        ASSERT_EQ(got.error, 0);
        Strings expected = split(golden.text("protocols")), found = got.protocols();
        std::sort(expected.begin(), expected.end());
        std::sort(found.begin(), found.end());
        EXPECT_EQ(found, expected);
        EXPECT_EQ(got.addrs(), Strings{golden.text("addr")});
        EXPECT_EQ(got.observed(), golden.text("remote"));
        EXPECT_STREQ(got.result.agent_version, "golden/1.0");
        EXPECT_STREQ(got.result.protocol_version, "golden/proto/1");
        EXPECT_TRUE(got.result.has_public_key);
        EXPECT_TRUE(got.result.has_signed_record);
        EXPECT_GT(got.result.record_seq, 1700000000000000000u);
        seen++;
    }
    EXPECT_EQ(seen, 4u);
}

TEST(Identify, ReadsWhatJsSends)
{
    for (const Record &golden : read_records("identify.txt")) {
        if (golden.text("name").rfind("identify js", 0) != 0)
            continue;
        struct peer_id peer;
        std::string id = golden.text("peer");
        ASSERT_EQ(peer_id_from_text(&peer, id.data(), id.size()), 0);
        Reading got(golden.bytes("stream"), peer);
        ASSERT_EQ(got.error, 0);
        EXPECT_EQ(got.protocols(), (Strings{"/ipfs/id/1.0.0", "/ipfs/ping/1.0.0"}));
        EXPECT_EQ(got.addrs(), Strings{golden.text("addr")});
        EXPECT_EQ(got.observed(), golden.text("remote")) << "js appends our id; it is taken away";
        EXPECT_EQ(std::string(got.result.agent_version).rfind("js-libp2p/", 0), 0u);
        EXPECT_TRUE(got.result.has_public_key);
        EXPECT_TRUE(got.result.has_signed_record);
        return;
    }
    FAIL();
}

TEST(Identify, ReadsTheSameInEveryCut)
{
    for (const Record &golden : read_records("identify.txt")) {
        if (!golden.has("stream"))
            continue;
        struct peer_id peer;
        std::string id = golden.text("peer");
        ASSERT_EQ(peer_id_from_text(&peer, id.data(), id.size()), 0);
        Bytes stream = golden.bytes("stream");
        std::string whole = Reading(stream, peer).summary();
        for (size_t piece : {1, 2, 3, 7, 64, 333})
            EXPECT_EQ(Reading(stream, peer, piece).summary(), whole);
        if (stream.size() > 500)
            continue;
        for (size_t cut = 1; cut < stream.size(); cut++) {
            struct identify_reader reader;
            struct identify_result result;
            identify_reader_init(&reader);
            ASSERT_EQ(identify_recv(&reader, stream.data(), cut), 0);
            ASSERT_EQ(identify_recv(&reader, stream.data() + cut, stream.size() - cut), 0);
            EXPECT_EQ(identify_finish(&reader, &result, &peer), 0);
            identify_reader_fini(&reader);
            EXPECT_EQ(Reading(Bytes(stream.begin(), stream.begin() + (long)cut), peer).error,
                      P2P_ERR_STREAM_PROTOCOL) << "ended in the middle, at " << cut;
        }
    }
}

/* ---- reading ---- */

TEST(Identify, MergesMessages)
{
    Peer peer(1);
    Bytes stream = concat({
        message({field(3, "/a"), field(5, "first"), addr_field("/ip4/1.1.1.1/tcp/1")}),
        message({}),
        message({field(3, "/b"), field(5, "second"), field(1, peer.public_key()), field(99, "?"), {0x38, 1}}),
        message({addr_field("/ip4/2.2.2.2/tcp/2"), field(4, hex("047f000001060001"))}),
    });
    Reading got(stream, peer.id);
    ASSERT_EQ(got.error, 0);
    EXPECT_EQ(got.protocols(), (Strings{"/a", "/b"}));
    EXPECT_EQ(got.addrs(), (Strings{"/ip4/1.1.1.1/tcp/1", "/ip4/2.2.2.2/tcp/2"}));
    EXPECT_STREQ(got.result.protocol_version, "second") << "of single fields the last one counts";
    EXPECT_EQ(got.observed(), "/ip4/127.0.0.1/tcp/1");
    EXPECT_TRUE(got.result.has_public_key);
    EXPECT_TRUE(got.result.has_listen_addrs);
    EXPECT_FALSE(got.result.has_signed_record);
}

TEST(Identify, RefusesStreamsThatAreNoIdentify)
{
    Peer peer(1);
    EXPECT_EQ(Reading({}, peer.id).error, P2P_ERR_STREAM_PROTOCOL) << "nothing";
    EXPECT_EQ(Reading({5, 1}, peer.id).error, P2P_ERR_STREAM_PROTOCOL) << "a part";
    EXPECT_EQ(Reading({2, 0x1a, 9}, peer.id).error, P2P_ERR_STREAM_PROTOCOL) << "no protobuf";
    EXPECT_EQ(Reading({1, 0x0b}, peer.id).error, P2P_ERR_STREAM_PROTOCOL) << "a group";
    EXPECT_EQ(Reading({0x81, 0x00, 0}, peer.id).error, P2P_ERR_STREAM_PROTOCOL) << "length not minimal";
    EXPECT_EQ(Reading(Bytes(12, 0xff), peer.id).error, P2P_ERR_STREAM_PROTOCOL);
    EXPECT_EQ(Reading({0}, peer.id).error, 0) << "an empty message is one";
    /* A good message before does not make a bad one better. */
    EXPECT_EQ(Reading(concat({message({field(3, "/a")}), {2, 0x1a, 9}}), peer.id).error,
              P2P_ERR_STREAM_PROTOCOL);
}

TEST(Identify, BoundsMessages)
{
    Peer peer(1);
    Bytes longest = field(3, "/a");
    longest = concat({longest, field(99, Bytes(IDENTIFY_MESSAGE_BYTES_MAX - longest.size() - 4, 'x'))});
    ASSERT_EQ(longest.size(), (size_t)IDENTIFY_MESSAGE_BYTES_MAX);
    Bytes full = concat({varint(longest.size()), longest}), stream;
    for (int i = 0; i < IDENTIFY_MESSAGES_MAX; i++)
        stream = concat({stream, full});
    ASSERT_EQ(stream.size(), (size_t)IDENTIFY_READER_BYTES_MAX);
    for (size_t piece : {(size_t)1, (size_t)1000, SIZE_MAX}) {
        Reading got(stream, peer.id, piece);
        EXPECT_EQ(got.error, 0);
        EXPECT_EQ(got.result.protocol_count, (size_t)IDENTIFY_MESSAGES_MAX);
        EXPECT_EQ(Reading(concat({stream, {0}}), peer.id, piece).error, P2P_ERR_STREAM_LIMIT);
        EXPECT_EQ(Reading(concat({Bytes(IDENTIFY_MESSAGES_MAX, 0), {0}}), peer.id, piece).error,
                  P2P_ERR_STREAM_LIMIT) << "one message too many, however short";
    }
    EXPECT_EQ(Reading(varint(IDENTIFY_MESSAGE_BYTES_MAX + 1), peer.id).error, P2P_ERR_STREAM_LIMIT)
        << "refused when announced";
    EXPECT_EQ(Reading(varint(INT64_MAX), peer.id).error, P2P_ERR_STREAM_LIMIT);
}

TEST(Identify, BoundsFields)
{
    Peer peer(1);
    Bytes body, stream;
    for (int i = 0; i < IDENTIFY_FIELDS_MAX / 4; i++)
        body = concat({body, {0x12, 0}});
    for (int i = 0; i < 4; i++)
        stream = concat({stream, message({body})});
    EXPECT_EQ(Reading(stream, peer.id).error, 0);
    EXPECT_EQ(Reading(concat({stream, message({field(3, "/a")})}), peer.id).error, P2P_ERR_STREAM_LIMIT);
}

TEST(Identify, KeepsNoMoreThanItsBounds)
{
    Peer peer(1);
    Bytes stream;
    for (int part = 0; part < 10; part++) {
        Bytes body;
        for (int i = 0; i < 200; i++)
            body = concat({body, field(3, "/p/" + std::to_string(part * 200 + i))});
        for (int i = 0; i < 100; i++)
            body = concat({body, addr_field("/ip4/1.1.1.1/tcp/" + std::to_string(part * 100 + i))});
        stream = concat({stream, message({body})});
    }
    Reading got(stream, peer.id);
    ASSERT_EQ(got.error, 0);
    EXPECT_EQ(got.result.protocol_count, (size_t)IDENTIFY_PROTOCOLS_MAX);
    EXPECT_EQ(got.protocols().back(), "/p/1023");
    EXPECT_EQ(got.result.addr_count, (size_t)IDENTIFY_ADDRS_MAX);
    EXPECT_EQ(got.addrs().back(), "/ip4/1.1.1.1/tcp/499");
}

TEST(Identify, DropsBadAddressesAndProtocols)
{
    Peer peer(1), other(2);
    std::string own = "/p2p/" + id_text(peer.id);
    Bytes stream = message({
        addr_field("/ip4/1.1.1.1/tcp/1"),
        addr_field("/ip4/1.1.1.1/tcp/2" + own),
        addr_field("/ip4/1.1.1.1/tcp/3/p2p/" + id_text(other.id)),
        addr_field("/ip4/1.1.1.1/tcp/4/p2p/" + id_text(other.id) + "/p2p-circuit"),
        addr_field("/ip4/1.1.1.1/tcp/5/p2p/" + id_text(other.id) + "/p2p-circuit" + own),
        addr_field(own),
        field(2, ""),
        field(2, hex("05")),
        field(2, hex("0401020304ff")),
        field(2, Bytes(300, 6)),
        field(3, ""),
        field(3, "/ok"),
        field(3, "/line\nend"),
        field(3, "/del\x7f"),
        field(3, "/bad utf-8 \xff"),
        field(3, "/caf\xc3\xa9"),
        field(3, std::string(IDENTIFY_PROTOCOL_BYTES_MAX, 'a')),
        field(3, std::string(IDENTIFY_PROTOCOL_BYTES_MAX + 1, 'a')),
        field(4, hex("0401")),
    });
    Reading got(stream, peer.id);
    ASSERT_EQ(got.error, 0);
    EXPECT_EQ(got.addrs(), (Strings{"/ip4/1.1.1.1/tcp/1", "/ip4/1.1.1.1/tcp/2",
                                    "/ip4/1.1.1.1/tcp/4/p2p/" + id_text(other.id) + "/p2p-circuit",
                                    "/ip4/1.1.1.1/tcp/5/p2p/" + id_text(other.id) + "/p2p-circuit"}));
    EXPECT_EQ(got.protocols(),
              (Strings{"/ok", "/caf\xc3\xa9", std::string(IDENTIFY_PROTOCOL_BYTES_MAX, 'a')}));
    EXPECT_EQ(got.observed(), "");
}

TEST(Identify, AForeignKeySpoilsAllOfIt)
{
    Peer peer(1), other(2);
    Bytes rest = concat({field(3, "/a"), addr_field("/ip4/1.1.1.1/tcp/1"), field(5, "v"), field(6, "a"),
                         field(4, hex("047f000001060001")), field(8, peer.record(1, {}))});
    Reading foreign(message({field(1, other.public_key()), rest}), peer.id);
    EXPECT_EQ(foreign.error, 0) << "the connection lives on";
    EXPECT_TRUE(foreign.result.key_mismatch);
    EXPECT_FALSE(foreign.result.has_public_key);
    EXPECT_FALSE(foreign.result.has_signed_record);
    EXPECT_EQ(foreign.result.protocol_count + foreign.result.addr_count, 0u);
    EXPECT_STREQ(foreign.result.agent_version, "");
    EXPECT_EQ(foreign.observed(), "");
    for (const Bytes &key : {Bytes(), hex("ffff"), hex("08011200")}) {
        Reading unreadable(message({field(1, key), rest}), peer.id);
        EXPECT_EQ(unreadable.error, 0);
        EXPECT_FALSE(unreadable.result.key_mismatch);
        EXPECT_FALSE(unreadable.result.has_public_key);
        EXPECT_EQ(unreadable.protocols(), Strings{"/a"}) << "a key that cannot be read is as none";
    }
}

TEST(Identify, AValidRecordReplacesTheAddresses)
{
    Peer peer(1), other(2);
    std::vector<struct multiaddr> addrs = {
        addr("/ip4/2.2.2.2/tcp/2"), addr("/ip4/2.2.2.2/tcp/3/p2p/" + id_text(peer.id)),
        addr("/ip4/2.2.2.2/tcp/4/p2p/" + id_text(other.id)),
    };
    Bytes listen = addr_field("/ip4/1.1.1.1/tcp/1"), record = peer.record(77, addrs);

    Reading good(concat({message({listen}), message({field(8, record)})}), peer.id);
    ASSERT_EQ(good.error, 0);
    EXPECT_TRUE(good.result.has_signed_record);
    EXPECT_TRUE(good.result.has_listen_addrs);
    EXPECT_EQ(good.result.record_seq, 77u);
    EXPECT_EQ(good.result.signed_record.length, record.size());
    EXPECT_EQ(good.addrs(), (Strings{"/ip4/2.2.2.2/tcp/2", "/ip4/2.2.2.2/tcp/3"}));

    Reading empty(message({listen, field(8, peer.record(78, {}))}), peer.id);
    EXPECT_TRUE(empty.result.has_signed_record);
    EXPECT_TRUE(empty.addrs().empty()) << "it says that there are none";
}

TEST(Identify, AnInvalidRecordIsIgnored)
{
    Peer peer(1), other(2);
    Bytes record = peer.record(1, {addr("/ip4/2.2.2.2/tcp/2")}), changed = record;
    changed.back() ^= 1;
    Bytes cut(record.begin(), record.end() - 1), foreign = other.record(1, {addr("/ip4/2.2.2.2/tcp/2")});
    for (const Bytes &bad : {changed, cut, Bytes(), hex("00"), foreign}) {
        Reading got(message({addr_field("/ip4/1.1.1.1/tcp/1"), field(8, bad)}), peer.id);
        ASSERT_EQ(got.error, 0);
        EXPECT_FALSE(got.result.has_signed_record);
        EXPECT_EQ(got.addrs(), Strings{"/ip4/1.1.1.1/tcp/1"});
    }
}

TEST(Identify, ARecordThatSaysNothingNewMayWait)
{
    Peer peer(1), other(2);
    std::vector<struct multiaddr> addrs = {addr("/ip4/1.1.1.1/tcp/1"), addr("/ip4/1.1.1.1/tcp/2")};
    Bytes listen = concat({addr_field("/ip4/1.1.1.1/tcp/2"), addr_field("/ip4/1.1.1.1/tcp/1")});
    Bytes record = peer.record(5, addrs), changed = record;
    changed.back() ^= 1;
    const struct {
        Bytes listen, record;
        bool defer, deferred, valid;
    } rows[] = {
        {listen, record, false, false, true},
        {listen, record, true, true, false},
        {listen, changed, true, true, false},
        {listen, changed, false, false, false},
        {addr_field("/ip4/1.1.1.1/tcp/2"), record, true, false, true},
        {concat({listen, addr_field("/ip4/1.1.1.1/tcp/3")}), record, true, false, true},
        {concat({listen, addr_field("/ip4/1.1.1.1/tcp/3")}), changed, true, false, false},
        {listen, other.record(5, addrs), true, false, false},
        {{}, peer.record(5, {}), true, true, false},
    };
    for (const auto &row : rows) {
        struct identify_reader reader;
        struct identify_result result;
        Bytes stream = message({row.listen, field(8, row.record)});
        identify_reader_init(&reader);
        reader.defer_record = row.defer;
        ASSERT_EQ(identify_recv(&reader, stream.data(), stream.size()), 0);
        ASSERT_EQ(identify_finish(&reader, &result, &peer.id), 0);
        EXPECT_EQ(result.record_deferred, row.deferred);
        EXPECT_EQ(result.has_signed_record, row.valid);
        EXPECT_EQ(result.record_seq, row.valid || row.deferred ? 5u : 0u);
        EXPECT_EQ(result.signed_record.length, row.valid || row.deferred ? row.record.size() : 0);
        EXPECT_EQ(result.addr_count, row.valid ? 2u : row.listen.size() / 10);
        identify_reader_fini(&reader);
    }
}

TEST(Identify, ARecordIsBoundedToo)
{
    Peer peer(1);
    std::vector<struct multiaddr> addrs;
    for (int i = 0; i < 490; i++)
        addrs.push_back(addr("/ip4/1.1.1.1/tcp/" + std::to_string(i)));
    Bytes record = peer.record(1, addrs);
    ASSERT_LT(record.size(), (size_t)IDENTIFY_MESSAGE_BYTES_MAX);
    Reading got(message({field(8, record)}), peer.id);
    ASSERT_EQ(got.error, 0);
    EXPECT_EQ(got.result.addr_count, 490u);
}

TEST(Identify, VersionsAreShortAndPrintable)
{
    Peer peer(1);
    const struct {
        std::string sent, kept;
    } rows[] = {
        {"go-libp2p/0.51", "go-libp2p/0.51"},
        {"a\nb\x1b[2Jc\x7f", "a?b?[2Jc?"},
        {std::string("a\0b", 3), "a?b"},
        {"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\x9d", "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\x9d"},
        {"\xc2\x9b" "31m", "??31m"},                  /* C1: CSI */
        {"\xc0\xaf \xe0\x80\xaf", "?? ???"},          /* overlong */
        {"\xed\xa0\x80", "???"},                      /* a surrogate */
        {"\xf4\x90\x80\x80", "????"},                 /* beyond Unicode */
        {"\xf8\x88\x80\x80\x80", "?????"},
        {"\xe2\x82", "??"},                           /* cut */
        {std::string(500, 'x'), std::string(127, 'x')},
        {std::string(126, 'x') + "\xc3\xa9", std::string(126, 'x')}, /* not cut in a character */
        {std::string(125, 'x') + "\xc3\xa9", std::string(125, 'x') + "\xc3\xa9"},
    };
    for (const auto &row : rows) {
        Reading got(message({field(5, row.sent), field(6, row.sent)}), peer.id);
        ASSERT_EQ(got.error, 0);
        EXPECT_EQ(got.result.protocol_version, row.kept);
        EXPECT_EQ(got.result.agent_version, row.kept);
    }
}

TEST(Identify, FieldsOfAnotherTypeAreNotThose)
{
    Peer peer(1);
    Bytes others = hex("1801" "1001" "2d01020304" "410102030405060708");
    Reading got(message({others, field(3, "/a")}), peer.id);
    ASSERT_EQ(got.error, 0);
    EXPECT_EQ(got.protocols(), Strings{"/a"});
    EXPECT_EQ(got.result.addr_count, 0u);
}

/* ---- writing ---- */

TEST(Identify, ReadsBackWhatItWrites)
{
    Peer peer(1);
    Info info;
    info.key = peer.public_key();
    info.names = {"/ipfs/id/1.0.0", "/ipfs/ping/1.0.0"};
    info.addrs = {addr("/ip4/1.2.3.4/tcp/3333"), {}, addr("/ip6/2001:db8::1/tcp/3333")};
    info.observed = addr("/ip4/5.6.7.8/tcp/9");
    info.info.agent_version = "chorus-p2p/0.1.0";
    info.info.protocol_version = "CHORUS-network";
    info.record = peer.record(42, {addr("/ip4/1.2.3.4/tcp/3333")});
    Bytes stream = info.encode();
    EXPECT_EQ(message_sizes(stream).size(), 1u);
    Reading got(stream, peer.id);
    ASSERT_EQ(got.error, 0);
    EXPECT_EQ(got.protocols(), info.names);
    EXPECT_EQ(got.addrs(), Strings{"/ip4/1.2.3.4/tcp/3333"});
    EXPECT_EQ(got.observed(), "/ip4/5.6.7.8/tcp/9");
    EXPECT_STREQ(got.result.agent_version, "chorus-p2p/0.1.0");
    EXPECT_STREQ(got.result.protocol_version, "CHORUS-network");
    EXPECT_TRUE(got.result.has_public_key);
    EXPECT_EQ(got.result.record_seq, 42u);
    info.record.clear();
    EXPECT_EQ(Reading(info.encode(), peer.id).addrs(),
              (Strings{"/ip4/1.2.3.4/tcp/3333", "/ip6/2001:db8::1/tcp/3333"}));
}

TEST(Identify, WritesNothingWhereThereIsNothingToSay)
{
    Info info;
    info.info.agent_version = "";
    EXPECT_EQ(to_hex(info.encode()), "00");
    size_t written = 9;
    EXPECT_EQ(identify_encode(nullptr, 0, &written, &info.info), P2P_ERR_CALL_SHORT);
    EXPECT_EQ(written, 9u);
}

TEST(Identify, ALongMessageSendsItsRecordApart)
{
    Peer peer(1);
    Info info;
    info.record = peer.record(42, {addr("/ip4/1.2.3.4/tcp/3333")});
    size_t overhead = info.record.size() + 3; /* of the record's field */
    for (size_t body : {IDENTIFY_SPLIT_BYTES - overhead, IDENTIFY_SPLIT_BYTES - overhead + 1}) {
        /* two protocol fields of 3 + n bytes each */
        info.names = {std::string(900, 'a'), std::string(body - 903 - 3, 'b')};
        std::vector<size_t> sizes = message_sizes(info.encode());
        if (body + overhead <= IDENTIFY_SPLIT_BYTES) {
            EXPECT_EQ(sizes, (std::vector<size_t>{IDENTIFY_SPLIT_BYTES + 2}));
        } else {
            EXPECT_EQ(sizes, (std::vector<size_t>{body + 2, overhead + 2}));
        }
        Reading got(info.encode(), peer.id);
        EXPECT_TRUE(got.result.has_signed_record);
        EXPECT_EQ(got.protocols(), info.names);
    }
}

TEST(Identify, LeavesOutAddressesThenProtocols)
{
    Peer peer(1);
    Info info;
    info.key = peer.public_key();
    info.info.agent_version = "agent";
    info.names = {"/a", "/b"};
    for (int i = 0; i < 1000; i++)
        info.addrs.push_back(addr("/ip4/1.2.3.4/tcp/" + std::to_string(i)));
    Bytes stream = info.encode();
    ASSERT_EQ(message_sizes(stream).size(), 1u);
    EXPECT_LE(stream.size(), (size_t)IDENTIFY_SENT_MESSAGE_BYTES_MAX);
    EXPECT_GT(stream.size(), (size_t)IDENTIFY_SENT_MESSAGE_BYTES_MAX - 10);
    Reading many_addrs(stream, peer.id);
    EXPECT_EQ(many_addrs.protocols(), info.names);
    EXPECT_GT(many_addrs.result.addr_count, 390u);
    EXPECT_EQ(many_addrs.addrs().front(), "/ip4/1.2.3.4/tcp/0");

    info.names.clear();
    for (int i = 0; i < 1000; i++)
        info.names.push_back("/protocol/" + std::to_string(i));
    stream = info.encode();
    EXPECT_LE(stream.size(), (size_t)IDENTIFY_SENT_MESSAGE_BYTES_MAX);
    Reading many_protocols(stream, peer.id);
    EXPECT_GT(many_protocols.result.protocol_count, 250u);
    EXPECT_LE(many_protocols.result.addr_count, 1u);
    EXPECT_STREQ(many_protocols.result.agent_version, "agent");
    EXPECT_TRUE(many_protocols.result.has_public_key);
    info.names = {std::string(IDENTIFY_PROTOCOL_BYTES_MAX + 1, 'a'), "", "/b"};
    EXPECT_EQ(Reading(info.encode(), peer.id).protocols(), Strings{"/b"}) << "what nobody could propose";
}

TEST(Identify, NeverFailsWithinItsBound)
{
    Random random(3);
    std::string version(400, 'v');
    for (int i = 0; i < 300; i++) {
        Info info;
        info.key = random.bytes(random.below(KEY_PUBLIC_BYTES_MAX + 1));
        info.record = random.bytes(random.below(IDENTIFY_RECORD_BYTES_MAX + 500));
        info.observed = addr("/unix/" + std::string(1 + random.below(240), 'x'));
        info.info.agent_version = version.c_str() + random.below(400);
        info.info.protocol_version = version.c_str() + random.below(400);
        for (size_t n = random.below(200); n > 0; n--)
            info.names.push_back(std::string(random.below(i % 2 ? 1100 : 40), 'p'));
        for (size_t n = random.below(200); n > 0; n--)
            info.addrs.push_back(addr("/unix/" + std::string(1 + random.below(240), 'y')));
        std::vector<size_t> sizes = message_sizes(info.encode());
        EXPECT_LE(sizes.size(), 2u);
        for (size_t size : sizes)
            EXPECT_LE(size, (size_t)IDENTIFY_SENT_MESSAGE_BYTES_MAX);
    }
}

TEST(Identify, ARecordThatIsTooLongIsNotSent)
{
    Info info;
    info.names = {"/a"};
    info.record = Bytes(IDENTIFY_RECORD_BYTES_MAX, 'r');
    EXPECT_EQ(message_sizes(info.encode()).size(), 2u);
    info.record.push_back('r');
    EXPECT_EQ(message_sizes(info.encode()).size(), 1u);
}

/* ---- which addresses go where ---- */

TEST(Identify, AddressesGoWhereTheyMakeSense)
{
    const std::string loopback = "/ip4/127.0.0.1/tcp/1", priv = "/ip4/192.168.1.1/tcp/1";
    const std::string pub = "/ip4/1.1.1.1/tcp/1", name = "/dns/example.com/tcp/1", unix_path = "/unix/x";
    const std::string local = "/ip6/fe80::1/tcp/1", unspecified = "/ip4/0.0.0.0/tcp/1";
    const std::string reserved = "/ip4/192.0.2.1/tcp/1";
    const struct {
        std::string remote;
        Strings told, kept_back;
    } rows[] = {
        {loopback, {loopback, priv, pub, unix_path, name, reserved}, {local, unspecified}},
        {priv, {priv, pub, unix_path, name, reserved}, {loopback, local, unspecified}},
        {pub, {pub, name}, {loopback, priv, local, unspecified, unix_path, reserved}},
        {reserved, {priv, pub, name, reserved}, {loopback, local, unspecified}},
        {local, {priv, pub, name}, {loopback, local, unspecified}},
        {unix_path, {priv, pub, name}, {loopback, local, unspecified}},
    };
    for (const auto &row : rows) {
        struct multiaddr remote = addr(row.remote);
        for (const std::string &text : row.told) {
            struct multiaddr m = addr(text);
            EXPECT_TRUE(identify_announce_filter(&m, &remote)) << text << " to " << row.remote;
            EXPECT_TRUE(identify_accept_filter(&m, &remote)) << text << " from " << row.remote;
        }
        for (const std::string &text : row.kept_back) {
            struct multiaddr m = addr(text);
            EXPECT_FALSE(identify_announce_filter(&m, &remote)) << text << " to " << row.remote;
            EXPECT_FALSE(identify_accept_filter(&m, &remote)) << text << " from " << row.remote;
        }
    }
}
