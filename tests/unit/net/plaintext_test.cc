#include <gtest/gtest.h>

#include <memory>

extern "C" {
#include "chorus/p2p.h"
#include "crypto/crypto.h"
#include "net/plaintext.h"
}
#include "tests/unit/crypto/support.h"

namespace {

struct Identity {
    struct key *key = nullptr;
    struct peer_id id;

    explicit Identity(uint8_t seed)
    {
        uint8_t bytes[KEY_SEED_BYTES] = {seed};

        EXPECT_EQ(crypto_init(), 0);
        EXPECT_EQ(key_new_seed(&key, bytes), 0);
        peer_id_from_public_key(&id, key_public(key));
    }
    Identity(enum key_type type, unsigned bits)
    {
        EXPECT_EQ(crypto_init(), 0);
        EXPECT_EQ(key_new_random(&key, type, bits), 0);
        peer_id_from_public_key(&id, key_public(key));
    }
    ~Identity() { key_free(key); }
    Identity(const Identity &) = delete;
};

struct Free {
    void operator()(struct plaintext *plaintext) { plaintext_free(plaintext); }
};

struct End {
    std::unique_ptr<struct plaintext, Free> machine;

    explicit End(const Identity &own, const struct peer_id *expected = nullptr)
        : machine(plaintext_new(key_public(own.key), expected))
    {
    }
    Bytes say()
    {
        Bytes out(PLAINTEXT_SEND_BYTES_MAX);
        size_t written = 0;

        EXPECT_EQ(plaintext_send(machine.get(), out.data(), out.size(), &written), 0);
        out.resize(written);
        return out;
    }
    /* What is left of the bytes; the result in `error`. */
    Bytes feed(Bytes bytes, int *error, size_t piece = SIZE_MAX)
    {
        size_t taken = 1;

        for (*error = 0; *error == 0 && taken > 0 && !bytes.empty();) {
            Bytes span(bytes.begin(), bytes.begin() + (long)std::min(piece, bytes.size()));
            *error = plaintext_recv(machine.get(), span.data(), span.size(), &taken);
            bytes.erase(bytes.begin(), bytes.begin() + (long)taken);
        }
        return bytes;
    }
};

Bytes field(uint8_t number, const Bytes &value)
{
    return concat({{(uint8_t)(number << 3 | 2), (uint8_t)value.size()}, value});
}

Bytes exchange(const Bytes &body)
{
    return concat({{(uint8_t)body.size()}, body});
}

Bytes id_bytes(const Identity &who)
{
    return Bytes(who.id.bytes, who.id.bytes + who.id.length);
}

Bytes key_bytes(const Identity &who)
{
    return Bytes(key_public(who.key)->bytes, key_public(who.key)->bytes + key_public(who.key)->length);
}

int outcome(const Bytes &bytes, const struct peer_id *expected = nullptr)
{
    static const Identity own(9);
    End end(own, expected);
    int error;

    end.say();
    end.feed(bytes, &error);
    EXPECT_EQ(plaintext_done(end.machine.get()), error == 0);
    if (error != 0) {
        int again;
        end.feed({1}, &again);
        EXPECT_EQ(again, error);
        EXPECT_TRUE(end.say().empty());
    }
    return error;
}

} // namespace

TEST(Plaintext, BothEndsLearnEachOthersKey)
{
    Identity alice(1), bob(2);

    for (size_t piece : {1, 2, 5, 1000}) {
        End dialer(alice, &bob.id), listener(bob);
        Bytes out = dialer.say();
        int error;

        EXPECT_TRUE(dialer.say().empty());
        out.insert(out.end(), {'n', 'e', 'x', 't'});
        EXPECT_EQ(listener.feed(out, &error, piece).size(), 4u);
        EXPECT_EQ(error, 0);
        EXPECT_FALSE(plaintext_done(listener.machine.get())); /* has not spoken yet */
        dialer.feed(listener.say(), &error, piece);
        EXPECT_EQ(error, 0);
        ASSERT_TRUE(plaintext_done(dialer.machine.get()) && plaintext_done(listener.machine.get()));
        EXPECT_TRUE(peer_id_equal(plaintext_remote_id(dialer.machine.get()), &bob.id));
        EXPECT_TRUE(peer_id_equal(plaintext_remote_id(listener.machine.get()), &alice.id));
    }
}

TEST(Plaintext, SaysTheExchangeAsTheSpecHasIt)
{
    Identity alice(1);
    End end(alice);

    EXPECT_EQ(end.say(), exchange(concat({field(1, id_bytes(alice)), field(2, key_bytes(alice))})));
}

TEST(Plaintext, AnIdMayBeTheHashOfALongKey)
{
    Identity alice(KEY_ECDSA, 0), bob(2);
    End dialer(alice), listener(bob, &alice.id);
    int error;

    EXPECT_EQ(alice.id.bytes[0], 0x12);
    listener.feed(dialer.say(), &error);
    listener.say();
    EXPECT_EQ(error, 0);
    EXPECT_TRUE(plaintext_done(listener.machine.get()));
}

TEST(Plaintext, RefusesWhomItDidNotExpect)
{
    Identity alice(1), bob(2);
    Bytes good = exchange(concat({field(1, id_bytes(alice)), field(2, key_bytes(alice))}));

    EXPECT_EQ(outcome(good), 0);
    EXPECT_EQ(outcome(good, &alice.id), 0);
    EXPECT_EQ(outcome(good, &bob.id), P2P_ERR_CONN_PEER_ID);
}

TEST(Plaintext, RefusesWhatDoesNotAgreeOrDoesNotParse)
{
    Identity alice(1), bob(2);
    Bytes id = field(1, id_bytes(alice)), key = field(2, key_bytes(alice)), unknown = field(3, {1, 2, 3});

    EXPECT_EQ(outcome(exchange(concat({unknown, key, id}))), 0);
    EXPECT_EQ(outcome(exchange(concat({field(1, id_bytes(bob)), key}))), P2P_ERR_CONN_AUTH);
    EXPECT_EQ(outcome(exchange(id)), P2P_ERR_CONN_PROTOCOL);
    EXPECT_EQ(outcome(exchange(key)), P2P_ERR_CONN_PROTOCOL);
    EXPECT_EQ(outcome(exchange({})), P2P_ERR_CONN_PROTOCOL);
    EXPECT_EQ(outcome(exchange(concat({id, field(2, {8, 1, 18, 1, 0})}))), P2P_ERR_CONN_PROTOCOL);
    EXPECT_EQ(outcome(exchange(concat({field(1, {1, 2, 3}), key}))), P2P_ERR_CONN_PROTOCOL);
    EXPECT_EQ(outcome(exchange(concat({id, key, {10, 50}}))), P2P_ERR_CONN_PROTOCOL);
    EXPECT_EQ(outcome({0x81, 0x10}), P2P_ERR_CONN_PROTOCOL);       /* 2,049 bytes */
    EXPECT_EQ(outcome({0x80, 0x00}), P2P_ERR_CONN_PROTOCOL);       /* a length longer than needed */
    EXPECT_EQ(outcome(Bytes(20, 0xff)), P2P_ERR_CONN_PROTOCOL);
    EXPECT_EQ(outcome(concat({{0x80, 0x10}, Bytes(2048, 0xff)})), P2P_ERR_CONN_PROTOCOL);
}

TEST(Plaintext, NeverCutsWhatItSays)
{
    Identity alice(1);
    End end(alice);
    uint8_t out[200];
    size_t written = 9, whole = 1 + 2 + 38 + 2 + 36;

    EXPECT_EQ(plaintext_send(end.machine.get(), out, whole - 1, &written), P2P_ERR_CALL_SHORT);
    EXPECT_EQ(written, 0u);
    EXPECT_EQ(plaintext_send(end.machine.get(), out, whole, &written), 0);
    EXPECT_EQ(written, whole);
}
