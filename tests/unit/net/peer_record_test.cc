#include <gtest/gtest.h>

extern "C" {
#include "chorus/p2p.h"
#include "net/peer_record.h"
}
#include "tests/unit/crypto/support.h"

namespace {

struct KeyDeleter {
    void operator()(struct key *key) const { key_free(key); }
};
using Key = std::unique_ptr<struct key, KeyDeleter>;

Key seeded(uint8_t seed)
{
    uint8_t bytes[KEY_SEED_BYTES];
    struct key *key = nullptr;

    memset(bytes, seed, sizeof(bytes));
    EXPECT_EQ(key_new_seed(&key, bytes), 0);
    return Key(key);
}

/* The key of that name in keys.txt. */
Key spec_key(const std::string &name)
{
    struct key *key = nullptr;

    for (const Record &record : read_records("keys.txt")) {
        Bytes bytes = record.bytes("private");
        if (record.text("name") == "spec " + name) {
            EXPECT_EQ(key_from_protobuf(&key, bytes.data(), bytes.size()), 0);
        }
    }
    EXPECT_NE(key, nullptr);
    return Key(key);
}

struct peer_id id_of(const Key &key)
{
    struct peer_id id;

    peer_id_from_public_key(&id, key_public(key.get()));
    return id;
}

std::string id_text(const struct peer_id &id)
{
    char text[PEER_ID_TEXT_SIZE];

    peer_id_to_text(&id, text);
    return text;
}

using Addrs = std::vector<struct multiaddr>;

struct multiaddr addr(const std::string &text)
{
    struct multiaddr m = {};

    EXPECT_EQ(multiaddr_from_text(&m, text.c_str(), nullptr, 0), 0) << text;
    return m;
}

Addrs golden_addrs()
{
    return {addr("/ip4/192.0.2.1/tcp/3333"), addr("/ip6/2001:db8::1/tcp/3333"),
            addr("/dns4/example.com/tcp/443/wss")};
}

Addrs many_addrs(size_t count)
{
    Addrs addrs;

    for (size_t i = 0; i < count; i++)
        addrs.push_back(addr("/ip4/192.0.2.1/tcp/" + std::to_string(i)));
    return addrs;
}

Addrs addrs_of(const struct peer_record &record)
{
    struct multiaddr m;
    size_t offset = 0;
    Addrs addrs;

    while (peer_record_next(&record, &offset, &m))
        addrs.push_back(m);
    EXPECT_FALSE(peer_record_next(&record, &offset, &m)) << "the end stays the end";
    return addrs;
}

bool equal(const Addrs &a, const Addrs &b)
{
    return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](auto &x, auto &y) {
               return multiaddr_equal(&x, &y);
           });
}

Bytes seal(const Key &key, uint64_t seq, const Addrs &addrs, size_t capacity = PEER_RECORD_SEALED_BYTES_MAX)
{
    Bytes out(capacity);
    size_t length = 0;

    EXPECT_EQ(peer_record_seal(out.data(), out.size(), &length, key.get(), seq, addrs.data(), addrs.size()),
              0);
    EXPECT_LE(length, capacity);
    out.resize(length);
    return out;
}

/* An envelope of any payload. */
Bytes envelope_of(const Key &key, const Bytes &payload, const char *domain = PEER_RECORD_DOMAIN,
                  const Bytes &type = {3, 1})
{
    Bytes out(ENVELOPE_BYTES_MAX);
    size_t length = 0;

    EXPECT_EQ(envelope_seal(out.data(), out.size(), &length, key.get(), domain, type.data(), type.size(),
                            payload.data(), payload.size()), 0);
    out.resize(length);
    return out;
}

int open(const Bytes &bytes, struct peer_record *record)
{
    return peer_record_open(record, bytes.data(), bytes.size());
}

int open(const Bytes &bytes)
{
    struct peer_record record;

    return open(bytes, &record);
}

Bytes id_field(const struct peer_id &id)
{
    return concat({{0x0a, id.length}, Bytes(id.bytes, id.bytes + id.length)});
}

} // namespace

TEST(PeerRecord, OpensWhatGoSealed)
{
    size_t opened = 0;

    for (const Record &golden : read_records("identify.txt")) {
        if (!golden.has("sealed"))
            continue;
        SCOPED_TRACE(golden.text("name"));
        struct peer_record record;
        Bytes bytes = golden.bytes("sealed");
        ASSERT_EQ(open(bytes, &record), 0);
        EXPECT_EQ(id_text(record.peer), golden.text("peer"));
        EXPECT_EQ(std::to_string(record.seq), golden.text("seq"));
        EXPECT_TRUE(equal(addrs_of(record), golden_addrs()));
        opened++;
    }
    EXPECT_EQ(opened, 4u);
}

TEST(PeerRecord, SealsAsGoDoes)
{
    for (const Record &golden : read_records("identify.txt")) {
        if (!golden.has("sealed"))
            continue;
        SCOPED_TRACE(golden.text("name"));
        std::string type = golden.text("name").substr(strlen("record "));
        Key key = spec_key(type);
        Bytes sealed = seal(key, std::stoull(golden.text("seq")), golden_addrs());
        struct peer_record record;
        if (type == "ed25519" || type == "rsa") { /* signatures of the others differ from time to time */
            EXPECT_EQ(to_hex(sealed), golden.text("sealed"));
        }
        ASSERT_EQ(open(sealed, &record), 0);
        EXPECT_EQ(id_text(record.peer), golden.text("peer"));
        EXPECT_TRUE(equal(addrs_of(record), golden_addrs()));
    }
}

TEST(PeerRecord, KeepsSequenceNumbers)
{
    Key key = seeded(1);
    for (uint64_t seq : {(uint64_t)0, (uint64_t)1, (uint64_t)INT64_MAX, UINT64_MAX}) {
        struct peer_record record;
        Bytes sealed = seal(key, seq, {});
        ASSERT_EQ(open(sealed, &record), 0);
        EXPECT_EQ(record.seq, seq);
        EXPECT_TRUE(addrs_of(record).empty());
    }
}

TEST(PeerRecord, RefusesEveryChangedOrMissingByte)
{
    Key key = seeded(1);
    Bytes sealed = seal(key, 7, golden_addrs());

    for (size_t i = 0; i < sealed.size(); i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            Bytes changed = sealed;
            changed[i] ^= (uint8_t)(1 << bit);
            EXPECT_NE(open(changed), 0) << "byte " << i << " bit " << bit;
        }
        EXPECT_NE(open(Bytes(sealed.begin(), sealed.begin() + (long)i)), 0) << "cut at " << i;
    }
}

TEST(PeerRecord, IsSignedByItsOwnPeer)
{
    Key key = seeded(1), other = seeded(2);
    EXPECT_EQ(open(envelope_of(key, concat({id_field(id_of(key)), {0x10, 5}}))), 0);
    EXPECT_EQ(open(envelope_of(key, concat({id_field(id_of(other)), {0x10, 5}}))), P2P_ERR_CALL_CRYPTO);
    EXPECT_EQ(open(envelope_of(key, {0x10, 5})), P2P_ERR_CALL_MALFORMED) << "no peer id";
    EXPECT_EQ(open(envelope_of(key, {0x0a, 1, 0})), P2P_ERR_CALL_MALFORMED);
    EXPECT_EQ(open(envelope_of(key, {0x0a, 50, 0})), P2P_ERR_CALL_MALFORMED);
    EXPECT_EQ(open(envelope_of(key, {})), P2P_ERR_CALL_MALFORMED);
}

TEST(PeerRecord, IsOfItsOwnDomainAndType)
{
    Key key = seeded(1);
    Bytes payload = concat({id_field(id_of(key)), {0x10, 5}});

    EXPECT_EQ(open(envelope_of(key, payload, "libp2p-relay-rsvp")), P2P_ERR_CALL_CRYPTO);
    EXPECT_EQ(open(envelope_of(key, payload, PEER_RECORD_DOMAIN, {3, 2})), P2P_ERR_CALL_UNSUPPORTED);
    EXPECT_EQ(open(envelope_of(key, payload, PEER_RECORD_DOMAIN, {0x81, 6})), P2P_ERR_CALL_UNSUPPORTED)
        << "the type is two raw bytes, not a varint";
}

TEST(PeerRecord, AFailureLeavesTheRecordAlone)
{
    struct peer_record record;
    memset(&record, 0xee, sizeof(record));
    struct peer_record before = record;
    EXPECT_NE(open({}, &record), 0);
    EXPECT_EQ(memcmp(&record, &before, sizeof(record)), 0);
}

TEST(PeerRecord, PeeksWithoutVerifying)
{
    Key key = seeded(1), other = seeded(2);
    Bytes sealed = seal(key, 7, golden_addrs());
    struct peer_record record;

    sealed.back() ^= 1;
    ASSERT_EQ(peer_record_peek(&record, sealed.data(), sealed.size()), 0);
    EXPECT_EQ(record.seq, 7u);
    EXPECT_EQ(id_text(record.peer), id_text(id_of(key)));
    EXPECT_TRUE(equal(addrs_of(record), golden_addrs()));
    EXPECT_EQ(peer_record_peek(&record, sealed.data(), sealed.size() - 1), P2P_ERR_CALL_MALFORMED);
    EXPECT_EQ(peer_record_peek(&record, sealed.data(), 0), P2P_ERR_CALL_UNSUPPORTED);
    sealed = envelope_of(key, {0x10, 5});
    EXPECT_EQ(peer_record_peek(&record, sealed.data(), sealed.size()), P2P_ERR_CALL_MALFORMED);
    sealed = envelope_of(key, {}, PEER_RECORD_DOMAIN, {3, 2});
    EXPECT_EQ(peer_record_peek(&record, sealed.data(), sealed.size()), P2P_ERR_CALL_UNSUPPORTED);
}

TEST(PeerRecord, PassesOverAddressesThatDoNotParse)
{
    Key key = seeded(1);
    struct peer_record record;
    struct wire_span bytes;
    Bytes sealed = envelope_of(key, concat({
        id_field(id_of(key)),
        {0x1a, 0},                                       /* no multiaddr */
        {0x1a, 2, 0x0a, 0},                              /* an empty one */
        {0x1a, 3, 0x0a, 1, 5},                           /* of an unknown protocol */
        {0x18, 9},                                       /* not a message */
        {0x1a, 2, 0x0a, 9},                              /* cut */
        hex("1a0a0a08047f0000010600012a0401020304"),     /* good, then a field nobody knows */
    }));
    ASSERT_EQ(open(sealed, &record), 0);
    EXPECT_TRUE(equal(addrs_of(record), {addr("/ip4/127.0.0.1/tcp/1")}));
    size_t offset = 0, count = 0;
    while (peer_record_next_bytes(&record, &offset, &bytes))
        count++;
    EXPECT_EQ(count, 5u);
}

TEST(PeerRecord, LeavesOutWhatDoesNotFit)
{
    Addrs addrs = many_addrs(600);
    Key keys[] = {seeded(1), spec_key("rsa"), spec_key("ecdsa"), spec_key("secp256k1")};
    for (const Key &key : keys) {
        size_t before = 0;
        for (size_t capacity : {1400, 2048, 4088, (int)PEER_RECORD_SEALED_BYTES_MAX}) {
            struct peer_record record;
            Bytes sealed = seal(key, 1, addrs, capacity);
            ASSERT_EQ(open(sealed, &record), 0);
            Addrs kept = addrs_of(record);
            EXPECT_GE(kept.size(), before);
            EXPECT_LE(kept.size(), (size_t)PEER_RECORD_ADDRS_MAX);
            EXPECT_TRUE(equal(kept, Addrs(addrs.begin(), addrs.begin() + (long)kept.size())));
            before = kept.size();
        }
        EXPECT_EQ(before, (size_t)PEER_RECORD_ADDRS_MAX);
    }
    uint8_t out[128];
    size_t length;
    for (size_t capacity = 0; capacity < sizeof(out); capacity++)
        EXPECT_EQ(peer_record_seal(out, capacity, &length, keys[0].get(), 1, addrs.data(), 1),
                  P2P_ERR_CALL_SHORT);
}

TEST(PeerRecord, SkipsAddressesOfNoLength)
{
    Key key = seeded(1);
    Addrs addrs = golden_addrs();
    addrs.insert(addrs.begin(), {{}});
    struct peer_record record;
    Bytes sealed = seal(key, 1, addrs);
    ASSERT_EQ(open(sealed, &record), 0);
    EXPECT_TRUE(equal(addrs_of(record), golden_addrs()));
}
