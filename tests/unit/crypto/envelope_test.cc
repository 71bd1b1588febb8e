#include <gtest/gtest.h>

extern "C" {
#include "chorus/p2p.h"
#include "crypto/crypto.h"
#include "crypto/envelope.h"
}
#include "support.h"

static const char domain[] = "libp2p-peer-record";
static const Bytes type = {3, 1};

static const struct key *a_key()
{
    static struct key *key;
    uint8_t seed[32] = {42};

    if (key == nullptr) {
        EXPECT_EQ(crypto_init(), 0);
        EXPECT_EQ(key_new_seed(&key, seed), 0);
    }
    return key;
}

static Bytes seal(const Bytes &payload, const struct key *key = a_key())
{
    Bytes out(ENVELOPE_BYTES_MAX);
    size_t length = 0;

    EXPECT_EQ(envelope_seal(out.data(), out.size(), &length, key, domain, type.data(), type.size(),
                            payload.data(), payload.size()), 0);
    out.resize(length);
    return out;
}

static int open(struct envelope *envelope, const Bytes &bytes, const char *in = domain, const Bytes &of = type)
{
    return envelope_open(envelope, bytes.data(), bytes.size(), in, of.data(), of.size());
}

TEST(Envelope, OpensWhatItSealed)
{
    for (size_t size : {0, 1, 127, 128, 200, ENVELOPE_PAYLOAD_BYTES_MAX + 0}) {
        Bytes payload = Random(size + 1).bytes(size), sealed = seal(payload);
        struct envelope envelope;

        ASSERT_EQ(open(&envelope, sealed), 0);
        EXPECT_EQ(Bytes(envelope.payload.data, envelope.payload.data + envelope.payload.length), payload);
        EXPECT_TRUE(public_key_equal(&envelope.signer, key_public(a_key())));
    }
}

TEST(Envelope, HasTheBytesOfRfc0002)
{
    Bytes sealed = seal(bytes_of("payload"));
    const struct public_key *key = key_public(a_key());
    Bytes expect = concat({hex("0a24"), Bytes(key->bytes, key->bytes + key->length), hex("12020301"), hex("1a07"),
                           bytes_of("payload"), hex("2a40")});
    Bytes text = concat({{18}, bytes_of(domain), hex("020301"), hex("07"), bytes_of("payload")});

    ASSERT_EQ(sealed.size(), expect.size() + 64);
    EXPECT_EQ(to_hex(sealed.data(), expect.size()), to_hex(expect));
    EXPECT_EQ(public_key_verify(key, text.data(), text.size(), sealed.data() + expect.size(), 64), 0);
}

TEST(Envelope, WorksWithEveryTypeOfKey)
{
    for (const Record &record : read_records("keys.txt")) {
        Bytes bytes = record.bytes("private");
        struct key *key = nullptr;
        struct envelope envelope;

        ASSERT_EQ(key_from_protobuf(&key, bytes.data(), bytes.size()), 0);
        EXPECT_EQ(open(&envelope, seal(bytes_of("x"), key)), 0) << record.text("name");
        key_free(key);
    }
}

TEST(Envelope, RefusesEveryFlippedBitAndEveryCut)
{
    Bytes sealed = seal(bytes_of("payload"));
    struct envelope envelope;

    for (size_t bit = 0; bit < sealed.size() * 8; bit++) {
        Bytes bad = sealed;

        bad[bit / 8] ^= (uint8_t)(1 << bit % 8);
        EXPECT_NE(open(&envelope, bad), 0) << bit;
    }
    for (size_t cut = 0; cut < sealed.size(); cut++)
        EXPECT_NE(open(&envelope, Bytes(sealed.begin(), sealed.begin() + cut)), 0) << cut;
}

TEST(Envelope, RefusesAnotherDomainTypeOrSigner)
{
    Bytes sealed = seal(bytes_of("payload")), other;
    struct envelope envelope;
    struct key *key = nullptr;
    uint8_t seed[32] = {43};

    EXPECT_EQ(open(&envelope, sealed, "libp2p-relay-rsvp"), P2P_ERR_CALL_CRYPTO);
    EXPECT_EQ(open(&envelope, sealed, domain, {3, 2}), P2P_ERR_CALL_UNSUPPORTED);
    EXPECT_EQ(open(&envelope, sealed, domain, {3}), P2P_ERR_CALL_UNSUPPORTED);
    ASSERT_EQ(key_new_seed(&key, seed), 0);
    other = sealed;
    memcpy(other.data() + 2, key_public(key)->bytes, key_public(key)->length);
    EXPECT_EQ(open(&envelope, other), P2P_ERR_CALL_CRYPTO);
    other[3] = 7;
    EXPECT_EQ(open(&envelope, other), P2P_ERR_CALL_UNSUPPORTED) << "a key type we do not know";
    key_free(key);
}

TEST(Envelope, KeepsToItsBounds)
{
    Bytes out(ENVELOPE_BYTES_MAX), big(ENVELOPE_PAYLOAD_BYTES_MAX + 1), sealed = seal(bytes_of("payload"));
    std::string long_domain(ENVELOPE_DOMAIN_BYTES_MAX + 1, 'd');
    struct envelope envelope;
    size_t length = 0;

    EXPECT_EQ(envelope_seal(out.data(), out.size(), &length, a_key(), domain, type.data(), 2, big.data(), big.size()),
              P2P_ERR_CALL_INVALID);
    EXPECT_EQ(envelope_seal(out.data(), out.size(), &length, a_key(), long_domain.c_str(), type.data(), 2, nullptr, 0),
              P2P_ERR_CALL_INVALID);
    EXPECT_EQ(envelope_seal(out.data(), out.size(), &length, a_key(), domain, big.data(), 33, nullptr, 0),
              P2P_ERR_CALL_INVALID);
    for (size_t capacity = 0; capacity < sealed.size(); capacity += 7)
        EXPECT_EQ(envelope_seal(out.data(), capacity, &length, a_key(), domain, type.data(), 2,
                                (const uint8_t *)"payload", 7), P2P_ERR_CALL_SHORT);
    EXPECT_EQ(length, 0u);
    EXPECT_EQ(open(&envelope, Bytes(ENVELOPE_BYTES_MAX + 1)), P2P_ERR_CALL_MALFORMED);
    Bytes oversize = concat({Bytes(sealed.begin(), sealed.begin() + 42), hex("1a8140"), big, hex("2a40"), Bytes(64)});
    EXPECT_EQ(open(&envelope, oversize), P2P_ERR_CALL_MALFORMED);
}

TEST(Envelope, ToleratesFieldsItDoesNotKnow)
{
    struct envelope envelope;

    EXPECT_EQ(open(&envelope, concat({hex("4807"), seal(bytes_of("payload")), hex("520161")})), 0);
    EXPECT_EQ(open(&envelope, concat({seal(bytes_of("payload")), hex("0b")})), P2P_ERR_CALL_MALFORMED);
}
