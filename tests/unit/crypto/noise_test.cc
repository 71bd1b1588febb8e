#include <gtest/gtest.h>

#include <sodium.h>

#include <memory>

extern "C" {
#include "chorus/p2p.h"
#include "crypto/crypto.h"
#include "crypto/noise.h"
#include "crypto/noise_xx.h"
#include "crypto/verified.h"
#include "crypto/wire.h"
#include "crypto/x25519.h"
}
#include "support.h"

static const char *const yamux[] = {"/yamux/1.0.0"};
static const char *const several[] = {"/b", "/yamux/1.0.0", "/a"};
static const char *const others[] = {"/a", "/c", "/yamux/1.0.0"};

struct Node {
    struct key *key = nullptr;
    struct noise_static *statics = nullptr;
    struct peer_id id;
    uint8_t seed = 0;

    explicit Node(uint8_t its_seed)
    {
        uint8_t bytes[32] = {its_seed};

        EXPECT_EQ(crypto_init(), 0);
        EXPECT_EQ(key_new_seed(&key, bytes), 0);
        start(its_seed);
    }
    Node(struct key *theirs, uint8_t its_seed) : key(theirs) { start(its_seed); }
    void start(uint8_t its_seed)
    {
        seed = its_seed;
        uint8_t bytes[32] = {0, seed, 1}; /* X25519 drops the lowest bits */

        peer_id_from_public_key(&id, key_public(key));
        EXPECT_EQ(noise_static_new(&statics, key, bytes), 0);
    }
    ~Node()
    {
        noise_static_free(statics);
        key_free(key);
    }
};

struct FreeHandshake {
    void operator()(struct noise_handshake *handshake) { noise_handshake_free(handshake); }
};
using Handshake = std::unique_ptr<struct noise_handshake, FreeHandshake>;

static Handshake handshake_of(const Node &node, bool initiator, const struct peer_id *expected,
                              const char *const *muxers = yamux, size_t count = 1, uint8_t seed = 9)
{
    uint8_t ephemeral[32] = {0, seed, initiator};

    return Handshake(noise_handshake_new(node.statics, initiator, expected, ephemeral, muxers, count));
}

/* What there is to send, or the error. */
static int send(struct noise_handshake *handshake, Bytes *out)
{
    size_t written = 0;
    int error;

    out->assign(NOISE_HANDSHAKE_SEND_BYTES_MAX, 0);
    error = noise_handshake_send(handshake, out->data(), out->size(), &written);
    out->resize(written);
    return error;
}

/* Feeds all of it in cuts of at most `cut` bytes; stops at an error. */
static int feed(struct noise_handshake *handshake, const Bytes &data, size_t cut = SIZE_MAX)
{
    for (size_t at = 0; at < data.size();) {
        size_t part = std::min(cut, data.size() - at), taken = 99;
        int error = noise_handshake_recv(handshake, data.data() + at, part, &taken);

        if (error != 0)
            return error;
        EXPECT_LE(taken, part);
        if (taken == 0)
            return P2P_ERR_CALL_STATE;
        at += taken;
    }
    return 0;
}

/* Runs it to the end; the error of whoever refuses first. */
static int run(struct noise_handshake *a, struct noise_handshake *b, size_t cut = SIZE_MAX)
{
    Bytes bytes;
    int error;

    for (int turn = 0; turn < 6; turn++) {
        struct noise_handshake *from = turn % 2 == 0 ? a : b, *to = turn % 2 == 0 ? b : a;

        error = send(from, &bytes);
        if (error == 0)
            error = feed(to, bytes, cut);
        if (error != 0)
            return error;
    }
    return 0;
}

struct Ends {
    Node alice{1}, bob{2};
    Handshake a = handshake_of(alice, true, &bob.id), b = handshake_of(bob, false, nullptr);
    struct noise_keys keys_a, keys_b;
    struct aead_context *aead = aead_context_new();

    Ends()
    {
        EXPECT_EQ(run(a.get(), b.get()), 0);
        noise_handshake_split(a.get(), &keys_a);
        noise_handshake_split(b.get(), &keys_b);
    }
    ~Ends() { aead_context_free(aead); }
    Bytes seal(struct noise_keys *keys, const Bytes &plain)
    {
        Bytes out(noise_record_bytes(plain.size()));
        struct aead_piece piece = {plain.data(), plain.size()};
        size_t written = 0;

        EXPECT_EQ(noise_seal(keys, aead, out.data(), out.size(), &written, &piece, 1), 0);
        EXPECT_EQ(written, out.size());
        EXPECT_EQ((size_t)out[0] << 8 | out[1], out.size() - 2);
        return out;
    }
    int open(struct noise_keys *keys, const Bytes &record, Bytes *plain)
    {
        size_t length = 0;

        plain->assign(record.begin() + 2, record.end());
        int error = noise_open(keys, aead, plain->data(), plain->size(), &length);
        plain->resize(error == 0 ? length : 0);
        return error;
    }
};

TEST(NoiseHandshake, BothEndsLearnWhoTheyTalkToAndAgreeOnKeys)
{
    Ends ends;

    EXPECT_TRUE(noise_handshake_done(ends.a.get()));
    EXPECT_TRUE(peer_id_equal(noise_handshake_remote_id(ends.a.get()), &ends.bob.id));
    EXPECT_TRUE(peer_id_equal(noise_handshake_remote_id(ends.b.get()), &ends.alice.id));
    EXPECT_TRUE(public_key_equal(noise_handshake_remote_key(ends.b.get()), key_public(ends.alice.key)));
    EXPECT_STREQ(noise_handshake_muxer(ends.a.get()), "/yamux/1.0.0");
    EXPECT_STREQ(noise_handshake_muxer(ends.b.get()), "/yamux/1.0.0");
    EXPECT_EQ(memcmp(ends.keys_a.send_key, ends.keys_b.recv_key, 32), 0);
    EXPECT_EQ(memcmp(ends.keys_a.recv_key, ends.keys_b.send_key, 32), 0);
    EXPECT_NE(memcmp(ends.keys_a.recv_key, ends.keys_a.send_key, 32), 0);
}

TEST(NoiseHandshake, WorksInEveryCut)
{
    Node alice(1), bob(2);

    for (size_t cut = 1; cut < 260; cut += cut < 8 ? 1 : 13) {
        Handshake a = handshake_of(alice, true, &bob.id), b = handshake_of(bob, false, nullptr);

        EXPECT_EQ(run(a.get(), b.get(), cut), 0);
        EXPECT_TRUE(noise_handshake_done(a.get()));
        EXPECT_TRUE(noise_handshake_done(b.get()));
    }
}

TEST(NoiseHandshake, WorksWithEveryTypeOfKey)
{
    Node alice(1);

    for (const Record &record : read_records("keys.txt")) {
        Bytes bytes = record.bytes("private");
        struct key *key = nullptr;

        ASSERT_EQ(key_from_protobuf(&key, bytes.data(), bytes.size()), 0);
        Node other(key, 3);
        Handshake a = handshake_of(alice, true, &other.id), b = handshake_of(other, false, &alice.id);
        EXPECT_EQ(run(a.get(), b.get(), 100), 0) << record.text("name");
        Handshake c = handshake_of(other, true, &alice.id), d = handshake_of(alice, false, nullptr);
        EXPECT_EQ(run(c.get(), d.get()), 0) << record.text("name");
        EXPECT_TRUE(peer_id_equal(noise_handshake_remote_id(d.get()), &other.id));
    }
}

TEST(NoiseHandshake, LeavesWhatFollowsItAlone)
{
    Node alice(1), bob(2);
    Handshake a = handshake_of(alice, true, &bob.id), b = handshake_of(bob, false, nullptr);
    Bytes bytes;
    size_t taken = 99;

    ASSERT_EQ(send(a.get(), &bytes), 0);
    size_t one = bytes.size();
    bytes.push_back(1);
    ASSERT_EQ(noise_handshake_recv(b.get(), bytes.data(), bytes.size(), &taken), 0);
    EXPECT_EQ(taken, one);
    ASSERT_EQ(noise_handshake_recv(b.get(), bytes.data(), bytes.size(), &taken), 0);
    EXPECT_EQ(taken, 0u) << "it is ours to speak";
    ASSERT_EQ(send(b.get(), &bytes), 0);
    ASSERT_EQ(feed(a.get(), bytes), 0);
    EXPECT_FALSE(noise_handshake_done(a.get())) << "message 3 is not sent yet";
    ASSERT_EQ(send(a.get(), &bytes), 0);
    EXPECT_TRUE(noise_handshake_done(a.get()));
    size_t three = bytes.size();
    bytes = concat({bytes, hex("0011223344")});
    ASSERT_EQ(noise_handshake_recv(b.get(), bytes.data(), bytes.size(), &taken), 0);
    EXPECT_EQ(taken, three);
    EXPECT_TRUE(noise_handshake_done(b.get()));
    ASSERT_EQ(noise_handshake_recv(b.get(), bytes.data(), bytes.size(), &taken), 0);
    EXPECT_EQ(taken, 0u);
    ASSERT_EQ(send(b.get(), &bytes), 0);
    EXPECT_TRUE(bytes.empty());
}

TEST(NoiseHandshake, ASmallBufferCostsNothing)
{
    Node alice(1), bob(2);
    Handshake a = handshake_of(alice, true, &bob.id), b = handshake_of(bob, false, nullptr);
    Bytes out(33), bytes;
    size_t written = 99;

    EXPECT_EQ(noise_handshake_send(a.get(), out.data(), out.size(), &written), P2P_ERR_CALL_SHORT);
    EXPECT_EQ(written, 0u);
    EXPECT_EQ(run(a.get(), b.get()), 0);
}

TEST(NoiseHandshake, RefusesSomebodyElseBeforeSayingAnything)
{
    Node alice(1), bob(2), mallory(3);
    Handshake a = handshake_of(alice, true, &bob.id), m = handshake_of(mallory, false, nullptr);
    Bytes bytes;
    size_t taken;

    EXPECT_EQ(run(a.get(), m.get()), P2P_ERR_CONN_PEER_ID);
    EXPECT_EQ(send(a.get(), &bytes), P2P_ERR_CONN_PEER_ID);
    EXPECT_TRUE(bytes.empty());
    EXPECT_EQ(noise_handshake_recv(a.get(), nullptr, 0, &taken), P2P_ERR_CONN_PEER_ID) << "for good";
    EXPECT_FALSE(noise_handshake_done(a.get()));

    Handshake c = handshake_of(alice, true, nullptr), d = handshake_of(bob, false, &mallory.id);
    EXPECT_EQ(run(c.get(), d.get()), P2P_ERR_CONN_PEER_ID) << "a listener may expect somebody too";
}

TEST(NoiseHandshake, TheInitiatorsOrderOfMuxersCounts)
{
    Node alice(1), bob(2);
    const struct {
        const char *const *ours;
        size_t our_count;
        const char *const *theirs;
        size_t their_count;
        const char *chosen;
    } rows[] = {
        {several, 3, others, 3, "/yamux/1.0.0"}, {others, 3, several, 3, "/a"},
        {yamux, 1, others, 3, "/yamux/1.0.0"},   {several, 1, others, 3, nullptr},
        {yamux, 0, others, 3, nullptr},          {others, 3, yamux, 0, nullptr},
        {yamux, 0, yamux, 0, nullptr},
    };

    for (const auto &row : rows) {
        Handshake a = handshake_of(alice, true, &bob.id, row.ours, row.our_count);
        Handshake b = handshake_of(bob, false, nullptr, row.theirs, row.their_count);

        ASSERT_EQ(run(a.get(), b.get()), 0);
        EXPECT_STREQ(noise_handshake_muxer(a.get()), row.chosen);
        EXPECT_STREQ(noise_handshake_muxer(b.get()), row.chosen);
    }
}

TEST(NoiseHandshake, OffersOnlyWhatFits)
{
    Node alice(1);
    std::string name(1500, 'm');
    const char *names[NOISE_MUXERS_MAX + 1];

    for (const char *&entry : names)
        entry = name.c_str();
    EXPECT_EQ(handshake_of(alice, true, nullptr, names, NOISE_MUXERS_MAX + 1), nullptr);
    EXPECT_EQ(handshake_of(alice, true, nullptr, names, 3), nullptr);
    EXPECT_NE(handshake_of(alice, true, nullptr, names, 2), nullptr);
}

/* ---- a peer that does not keep to the rules ---- */

TEST(NoiseHandshake, RefusesLengthsAsSoonAsTheyAreKnown)
{
    Node bob(2);
    const struct {
        const char *header;
        int error;
    } rows[] = {
        {"0000", P2P_ERR_CONN_PROTOCOL}, {"001f", P2P_ERR_CONN_PROTOCOL}, {"0020", 0},
        {"0021", P2P_ERR_CONN_PROTOCOL}, /* message 1 with a payload */
        {"1000", P2P_ERR_CONN_PROTOCOL}, {"1001", P2P_ERR_CONN_PROTOCOL}, {"ffff", P2P_ERR_CONN_PROTOCOL},
    };

    for (const auto &row : rows) {
        Handshake b = handshake_of(bob, false, nullptr);

        EXPECT_EQ(feed(b.get(), hex(row.header), 1), row.error) << row.header;
    }
}

TEST(NoiseHandshake, HoldsABoundedMessageOnly)
{
    Node alice(1);
    Bytes bytes;

    for (const char *header : {"005f", "1001", "ffff"}) {
        Handshake a = handshake_of(alice, true, nullptr);

        ASSERT_EQ(send(a.get(), &bytes), 0);
        EXPECT_EQ(feed(a.get(), hex(header)), P2P_ERR_CONN_PROTOCOL) << header;
    }
    Handshake a = handshake_of(alice, true, nullptr);
    ASSERT_EQ(send(a.get(), &bytes), 0);
    EXPECT_EQ(feed(a.get(), concat({hex("1000"), Random(1).bytes(4096)}), 77), P2P_ERR_CONN_AUTH);
}

TEST(NoiseHandshake, RefusesAFlippedBitInEveryMessage)
{
    Node alice(1), bob(2);

    for (int broken = 0; broken < 3; broken++) {
        for (size_t at = 0;; at++) {
            Handshake a = handshake_of(alice, true, &bob.id), b = handshake_of(bob, false, nullptr);
            bool reached = false;
            int error = 0;

            for (int turn = 0; turn < 3 && error == 0; turn++) {
                struct noise_handshake *from = turn % 2 == 0 ? a.get() : b.get();
                struct noise_handshake *to = turn % 2 == 0 ? b.get() : a.get();
                Bytes bytes;

                error = send(from, &bytes);
                if (turn == broken && 2 + at < bytes.size()) {
                    bytes[2 + at] ^= (uint8_t)(1 << at % 8);
                    reached = true;
                }
                if (error == 0)
                    error = feed(to, bytes);
            }
            if (!reached)
                break;
            EXPECT_EQ(error, P2P_ERR_CONN_AUTH) << broken << " " << at;
        }
    }
}

TEST(NoiseHandshake, IsNotDoneWhenCutAtAnyLength)
{
    Node alice(1), bob(2);
    Bytes one, two, three;
    Handshake a = handshake_of(alice, true, &bob.id), b = handshake_of(bob, false, nullptr);

    ASSERT_EQ(send(a.get(), &one), 0);
    ASSERT_EQ(feed(b.get(), one), 0);
    ASSERT_EQ(send(b.get(), &two), 0);
    ASSERT_EQ(feed(a.get(), two), 0);
    ASSERT_EQ(send(a.get(), &three), 0);
    for (size_t cut = 0; cut < three.size(); cut++) {
        size_t taken;

        EXPECT_FALSE(noise_handshake_done(b.get()));
        ASSERT_EQ(noise_handshake_recv(b.get(), three.data() + cut, 1, &taken), 0);
        EXPECT_EQ(taken, 1u);
    }
    EXPECT_TRUE(noise_handshake_done(b.get()));
}

TEST(NoiseHandshake, RefusesAReplayedMessage)
{
    Node alice(1), bob(2);
    Bytes one, two, three, other;
    Handshake a = handshake_of(alice, true, &bob.id), b = handshake_of(bob, false, nullptr);

    ASSERT_EQ(send(a.get(), &one), 0);
    ASSERT_EQ(feed(b.get(), one), 0);
    ASSERT_EQ(send(b.get(), &two), 0);
    ASSERT_EQ(feed(a.get(), two), 0);
    ASSERT_EQ(send(a.get(), &three), 0);

    /* the whole of it again, to a listener with another ephemeral key */
    Handshake fresh = handshake_of(bob, false, nullptr, yamux, 1, 10);
    ASSERT_EQ(feed(fresh.get(), one), 0);
    ASSERT_EQ(send(fresh.get(), &other), 0);
    EXPECT_EQ(feed(fresh.get(), three), P2P_ERR_CONN_AUTH);
    /* its own message back */
    Handshake c = handshake_of(alice, true, nullptr);
    ASSERT_EQ(send(c.get(), &one), 0);
    EXPECT_EQ(feed(c.get(), one), P2P_ERR_CONN_PROTOCOL);
}

/* A peer whose payload the test writes itself, on the raw machine. */
struct Forger {
    struct noise_xx xx;
    uint8_t s[32] = {77}, s_public[32], e[32] = {88};

    explicit Forger(bool initiator)
    {
        crypto_scalarmult_curve25519_base(s_public, s);
        noise_xx_init(&xx, initiator, nullptr, 0, s, s_public, e);
    }
    Bytes write(const Bytes &payload)
    {
        Bytes out(2 + 65535);
        size_t written = 0;

        EXPECT_EQ(noise_xx_write(&xx, out.data() + 2, 65535, &written, payload.data(), payload.size()), 0);
        out[0] = (uint8_t)(written >> 8);
        out[1] = (uint8_t)written;
        out.resize(2 + written);
        return out;
    }
    Bytes read(const Bytes &message)
    {
        Bytes payload(message.size());
        size_t length = 0;

        EXPECT_EQ(noise_xx_read(&xx, payload.data(), &length, message.data() + 2, message.size() - 2), 0);
        payload.resize(length);
        return payload;
    }
    Bytes signature(const struct key *key, const char *prefix = "noise-libp2p-static-key:") const
    {
        Bytes text = concat({bytes_of(prefix), Bytes(s_public, s_public + 32)}), out(KEY_SIGNATURE_BYTES_MAX);
        size_t length = 0;

        EXPECT_EQ(key_sign(key, out.data(), &length, text.data(), text.size()), 0);
        out.resize(length);
        return out;
    }
};

static Bytes field(uint32_t number, const Bytes &data)
{
    Bytes out(data.size() + 16);
    struct wire_writer writer = wire_writer_of(out.data(), out.size());

    wire_field_bytes(&writer, number, data.data(), data.size());
    out.resize(writer.length);
    return out;
}

static Bytes identity_of(const Node &node)
{
    const struct public_key *key = key_public(node.key);

    return Bytes(key->bytes, key->bytes + key->length);
}

/* The X25519 half that Node made of its seed. */
static Bytes public_half_of(const Node &node)
{
    Bytes secret = {0, node.seed, 1}, out(32);

    secret.resize(32);
    crypto_scalarmult_curve25519_base(out.data(), secret.data());
    return out;
}

/* What a dialler of `expected` says to a listener with this payload. */
static int answer_dialler(const Node &alice, Forger *forger, const Bytes &payload, Handshake *out = nullptr)
{
    Handshake a = handshake_of(alice, true, nullptr, several, 3);
    Bytes one;
    int error;

    EXPECT_EQ(send(a.get(), &one), 0);
    forger->read(one);
    error = feed(a.get(), forger->write(payload));
    if (out != nullptr)
        *out = std::move(a);
    return error;
}

TEST(NoiseHandshake, RefusesPayloadsThatProveNothing)
{
    Node alice(1), bob(2);
    Bytes key = identity_of(bob), sig = Forger(false).signature(bob.key);
    Bytes wrong_prefix = Forger(false).signature(bob.key, "noise-libp2p-static-key");
    Bytes wrong_signer = Forger(false).signature(alice.key), broken_key = key;
    broken_key[0] = 0x7f;
    const struct {
        Bytes payload;
        int error;
    } rows[] = {
        {{}, P2P_ERR_CONN_AUTH},
        {field(1, key), P2P_ERR_CONN_AUTH},
        {field(2, sig), P2P_ERR_CONN_AUTH},
        {concat({field(1, key), field(2, {})}), P2P_ERR_CONN_AUTH},
        {concat({field(1, key), field(2, Bytes(64))}), P2P_ERR_CONN_AUTH},
        {concat({field(1, key), field(2, wrong_prefix)}), P2P_ERR_CONN_AUTH},
        {concat({field(1, key), field(2, wrong_signer)}), P2P_ERR_CONN_AUTH},
        {concat({field(1, broken_key), field(2, sig)}), P2P_ERR_CONN_AUTH},
        {concat({field(1, key), field(2, sig), hex("0b")}), P2P_ERR_CONN_PROTOCOL},
        {concat({field(1, key), field(2, sig), hex("22ff01")}), P2P_ERR_CONN_PROTOCOL},
        {concat({field(1, key), field(2, sig), field(4, hex("12ff"))}), P2P_ERR_CONN_PROTOCOL},
        {concat({field(1, key), field(2, sig)}), 0},
        {concat({field(2, sig), field(1, key)}), 0},
        {concat({field(1, key), field(2, sig), field(3, bytes_of("old data")), hex("4801")}), 0},
        {concat({field(1, key), field(2, sig), field(4, field(1, Bytes(34)))}), 0},
    };

    for (const auto &row : rows) {
        Forger forger(false);

        EXPECT_EQ(answer_dialler(alice, &forger, row.payload), row.error) << to_hex(row.payload);
    }
}

TEST(NoiseHandshake, IgnoresAListOfTooManyMuxers)
{
    Node alice(1), bob(2);
    Bytes proof = concat({field(1, identity_of(bob)), field(2, Forger(false).signature(bob.key))});

    for (size_t count : {1, 100, 101}) {
        Bytes list, out;
        Forger forger(false);
        Handshake a;

        for (size_t i = 0; i < count; i++)
            list = concat({list, field(2, bytes_of("/a"))});
        ASSERT_EQ(answer_dialler(alice, &forger, concat({proof, field(4, list)}), &a), 0);
        ASSERT_EQ(send(a.get(), &out), 0);
        EXPECT_STREQ(noise_handshake_muxer(a.get()), count <= 100 ? "/a" : nullptr);
    }
}

TEST(NoiseHandshake, ReadsAPayloadUpToItsBound)
{
    Node alice(1), bob(2);
    Bytes proof = concat({field(1, identity_of(bob)), field(2, Forger(false).signature(bob.key))});
    size_t room = NOISE_HANDSHAKE_MESSAGE_BYTES_MAX - 96 - proof.size() - 3;
    Forger fits(false), over(false);

    EXPECT_EQ(answer_dialler(alice, &fits, concat({proof, field(9, Bytes(room))})), 0);
    EXPECT_EQ(answer_dialler(alice, &over, concat({proof, field(9, Bytes(room + 1))})), P2P_ERR_CONN_PROTOCOL);
}

TEST(NoiseHandshake, AListenerChecksTheDiallersSignatureToo)
{
    Node alice(1), bob(2);

    for (bool honest : {true, false}) {
        Handshake b = handshake_of(bob, false, nullptr);
        Forger forger(true);
        Bytes two;

        ASSERT_EQ(feed(b.get(), forger.write({})), 0);
        ASSERT_EQ(send(b.get(), &two), 0);
        forger.read(two);
        Bytes sig = forger.signature(honest ? alice.key : bob.key);
        EXPECT_EQ(feed(b.get(), forger.write(concat({field(1, identity_of(alice)), field(2, sig)}))),
                  honest ? 0 : P2P_ERR_CONN_AUTH);
        EXPECT_EQ(noise_handshake_done(b.get()), honest);
    }
}

TEST(NoiseHandshake, AKnownSignatureProvesNothingForAnotherStaticKey)
{
    Node alice(1), bob(2);
    struct verified *verified = verified_new();
    struct x25519_pairs *pairs = x25519_pairs_new();

    x25519_pairs_expect(pairs, 4);
    for (int time = 0; time < 3; time++) {
        Handshake a = handshake_of(alice, true, &bob.id), b = handshake_of(bob, false, nullptr);
        noise_handshake_share(b.get(), verified, pairs);
        EXPECT_EQ(run(a.get(), b.get()), 0);
        EXPECT_TRUE(peer_id_equal(noise_handshake_remote_id(b.get()), &alice.id));
        Handshake fresh = handshake_of(bob, false, nullptr);
        noise_handshake_share(fresh.get(), verified, pairs);
        Forger forger(true);
        Bytes two, text = concat({bytes_of("noise-libp2p-static-key:"), public_half_of(alice)});
        Bytes sig(KEY_SIGNATURE_BYTES_MAX);
        size_t length = 0;
        ASSERT_EQ(key_sign(alice.key, sig.data(), &length, text.data(), text.size()), 0);
        sig.resize(length);
        ASSERT_EQ(verified_check(verified, key_public(alice.key), text.data(), text.size(), sig.data(), length), 0);
        ASSERT_EQ(feed(fresh.get(), forger.write({})), 0);
        ASSERT_EQ(send(fresh.get(), &two), 0);
        forger.read(two);
        EXPECT_EQ(feed(fresh.get(), forger.write(concat({field(1, identity_of(alice)), field(2, sig)}))),
                  P2P_ERR_CONN_AUTH);
    }
    verified_free(verified);
    x25519_pairs_free(pairs);
}

TEST(NoiseHandshake, SurvivesRandomBytes)
{
    Node alice(1), bob(2);
    Random random(5);

    for (int i = 0; i < 300; i++) {
        bool initiator = i % 2 == 0;
        Handshake h = handshake_of(initiator ? alice : bob, initiator, nullptr);
        Bytes bytes, noise = random.bytes(random.below(300));

        if (noise.size() > 1) {
            noise[0] = 0;
            noise[1] = (uint8_t)(initiator ? 96 + random.below(100) : 32);
        }
        send(h.get(), &bytes);
        feed(h.get(), noise, 1 + random.below(50));
        send(h.get(), &bytes);
    }
}

/* ---- records ---- */

TEST(NoiseRecord, CarriesEverySizeBothWays)
{
    Ends ends;
    Bytes plain;

    for (size_t size : {0, 1, 12, 511, 512, 513, 16384, 65518, 65519}) {
        Bytes data = Random(size + 1).bytes(size);

        ASSERT_EQ(ends.open(&ends.keys_b, ends.seal(&ends.keys_a, data), &plain), 0);
        EXPECT_EQ(plain, data);
        ASSERT_EQ(ends.open(&ends.keys_a, ends.seal(&ends.keys_b, data), &plain), 0);
        EXPECT_EQ(plain, data);
    }
    EXPECT_EQ(ends.keys_a.send_nonce, 9u);
    EXPECT_EQ(ends.keys_a.recv_nonce, 9u);
}

TEST(NoiseRecord, GathersPieces)
{
    Ends ends;
    Bytes head = Random(1).bytes(12), body = Random(2).bytes(65507), out(noise_record_bytes(65519)), plain;
    struct aead_piece pieces[] = {{head.data(), head.size()}, {body.data(), body.size()}, {nullptr, 0}};
    size_t written = 0;

    ASSERT_EQ(noise_seal(&ends.keys_a, ends.aead, out.data(), out.size(), &written, pieces, 3), 0);
    ASSERT_EQ(written, out.size());
    ASSERT_EQ(ends.open(&ends.keys_b, out, &plain), 0);
    EXPECT_EQ(plain, concat({head, body}));
    ASSERT_EQ(noise_seal(&ends.keys_a, ends.aead, out.data(), out.size(), &written, nullptr, 0), 0);
    EXPECT_EQ(written, 18u);
    out.resize(written);
    ASSERT_EQ(ends.open(&ends.keys_b, out, &plain), 0);
    EXPECT_TRUE(plain.empty());
}

TEST(NoiseRecord, SealsInPlace)
{
    Ends ends;
    Bytes data = Random(1).bytes(1000), out(noise_record_bytes(1000)), plain;
    struct aead_piece piece = {out.data() + NOISE_HEADER_BYTES, data.size()};
    size_t written;

    memcpy(out.data() + NOISE_HEADER_BYTES, data.data(), data.size());
    ASSERT_EQ(noise_seal(&ends.keys_a, ends.aead, out.data(), out.size(), &written, &piece, 1), 0);
    ASSERT_EQ(ends.open(&ends.keys_b, out, &plain), 0);
    EXPECT_EQ(plain, data);
}

TEST(NoiseRecord, KeepsToItsBounds)
{
    Ends ends;
    Bytes data(65520), out(70000);
    struct aead_piece long_one = {data.data(), 65520}, ten = {data.data(), 10};
    struct aead_piece two[] = {{data.data(), 65519}, {data.data(), 1}};
    struct aead_piece wrap[] = {{data.data(), 10}, {data.data(), SIZE_MAX}};
    size_t n = 7;

    EXPECT_EQ(noise_seal(&ends.keys_a, ends.aead, out.data(), out.size(), &n, &long_one, 1), P2P_ERR_CALL_INVALID);
    EXPECT_EQ(noise_seal(&ends.keys_a, ends.aead, out.data(), out.size(), &n, two, 2), P2P_ERR_CALL_INVALID);
    EXPECT_EQ(noise_seal(&ends.keys_a, ends.aead, out.data(), out.size(), &n, wrap, 2), P2P_ERR_CALL_INVALID);
    EXPECT_EQ(noise_seal(&ends.keys_a, ends.aead, out.data(), 27, &n, &ten, 1), P2P_ERR_CALL_SHORT);
    EXPECT_EQ(ends.keys_a.send_nonce, 0u);
    for (size_t length = 0; length < 16; length++)
        EXPECT_EQ(noise_open(&ends.keys_b, ends.aead, out.data(), length, &n), P2P_ERR_CONN_PROTOCOL);
    EXPECT_EQ(noise_open(&ends.keys_b, ends.aead, out.data(), 65536, &n), P2P_ERR_CONN_PROTOCOL);
    EXPECT_EQ(n, 7u);
}

TEST(NoiseRecord, RefusesFlippedReplayedReorderedAndCutRecords)
{
    Ends ends;
    Bytes first = ends.seal(&ends.keys_a, bytes_of("first")), second = ends.seal(&ends.keys_a, bytes_of("second"));
    Bytes plain;

    EXPECT_EQ(ends.open(&ends.keys_b, second, &plain), P2P_ERR_CONN_AUTH) << "reordered";
    for (size_t bit = 16; bit < first.size() * 8; bit++) {
        Bytes bad = first;

        bad[bit / 8] ^= (uint8_t)(1 << bit % 8);
        EXPECT_EQ(ends.open(&ends.keys_b, bad, &plain), P2P_ERR_CONN_AUTH);
    }
    for (size_t cut = 18; cut < first.size(); cut++)
        EXPECT_EQ(ends.open(&ends.keys_b, Bytes(first.begin(), first.begin() + cut), &plain), P2P_ERR_CONN_AUTH);
    EXPECT_EQ(ends.open(&ends.keys_a, first, &plain), P2P_ERR_CONN_AUTH) << "sent back to where it came from";
    EXPECT_EQ(ends.open(&ends.keys_b, first, &plain), 0);
    EXPECT_EQ(ends.open(&ends.keys_b, first, &plain), P2P_ERR_CONN_AUTH) << "replayed";
    EXPECT_EQ(ends.open(&ends.keys_b, second, &plain), 0);
}

TEST(NoiseRecord, StopsBeforeANonceComesTwice)
{
    Ends ends;
    Bytes plain, record, out(100);
    size_t written;

    ends.keys_a.send_nonce = ends.keys_b.recv_nonce = UINT64_MAX - 1;
    record = ends.seal(&ends.keys_a, bytes_of("last"));
    EXPECT_EQ(ends.open(&ends.keys_b, record, &plain), 0);
    EXPECT_EQ(noise_seal(&ends.keys_a, ends.aead, out.data(), out.size(), &written, nullptr, 0), P2P_ERR_CONN_LIMIT);
    EXPECT_EQ(ends.open(&ends.keys_b, record, &plain), P2P_ERR_CONN_LIMIT);
}

TEST(NoiseRecord, KeysAreWiped)
{
    Ends ends;
    struct noise_keys zero;

    memset(&zero, 0, sizeof(zero));
    noise_keys_wipe(&ends.keys_a);
    EXPECT_EQ(memcmp(&ends.keys_a, &zero, sizeof(zero)), 0);
}
