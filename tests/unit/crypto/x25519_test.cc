#include <gtest/gtest.h>

#include <set>
#include <sodium.h>

extern "C" {
#include "crypto/crypto.h"
#include "crypto/x25519.h"
}
#include "support.h"

struct X25519Test : testing::Test {
    void SetUp() override
    {
        ASSERT_EQ(crypto_init(), 0);
        pairs = x25519_pairs_new();
        ASSERT_NE(pairs, nullptr);
    }
    void TearDown() override { x25519_pairs_free(pairs); }

    /* The secret half; the public one is its. */
    Bytes take(struct x25519_pairs *from)
    {
        Bytes secret(32), public_half(32), expect(32), seed = random.bytes(32);

        x25519_pairs_take(from, secret.data(), public_half.data(), seed.data());
        EXPECT_EQ(crypto_scalarmult_curve25519_base(expect.data(), secret.data()), 0);
        EXPECT_EQ(public_half, expect);
        last_seed = seed;
        return secret;
    }

    struct x25519_pairs *pairs = nullptr;
    Random random{1};
    Bytes last_seed;
};

TEST_F(X25519Test, EachPairIsOneAndComesOnce)
{
    std::set<Bytes> seen;
    size_t taken = 0;

    for (size_t expected : {1, 2, 3, 15, 16, 17, 1000, 0}) {
        x25519_pairs_expect(pairs, expected);
        for (int i = 0; i < 50; i++, taken++)
            seen.insert(take(pairs));
    }
    EXPECT_EQ(seen.size(), taken);
}

TEST_F(X25519Test, ASingleOneIsItsSeed)
{
    EXPECT_EQ(take(nullptr), last_seed);
    EXPECT_EQ(take(pairs), last_seed);
    x25519_pairs_expect(pairs, 2);
    EXPECT_NE(take(pairs), last_seed); /* nor is it any of those made with it */
    EXPECT_NE(take(pairs), last_seed);
}

TEST_F(X25519Test, ThoseThatWaitAreGoneWhenNobodyComes)
{
    x25519_pairs_expect(pairs, 8);
    EXPECT_NE(take(pairs), last_seed);
    x25519_pairs_expect(pairs, 1);
    EXPECT_NE(take(pairs), last_seed); /* one of those that wait */
    x25519_pairs_expect(pairs, 0);
    EXPECT_EQ(take(pairs), last_seed);
}

TEST_F(X25519Test, SecretsOfABatchAreNotToBeHadFromOneAnother)
{
    Bytes seed(32, 7), first(32), second(32), public_half(32), again(32);
    struct x25519_pairs *other = x25519_pairs_new();

    x25519_pairs_expect(pairs, 2);
    x25519_pairs_expect(other, 2);
    x25519_pairs_take(pairs, first.data(), public_half.data(), seed.data());
    x25519_pairs_take(pairs, second.data(), public_half.data(), seed.data());
    EXPECT_NE(first, second);
    x25519_pairs_take(other, again.data(), public_half.data(), first.data());
    EXPECT_NE(again, second);
    x25519_pairs_free(other);
}
