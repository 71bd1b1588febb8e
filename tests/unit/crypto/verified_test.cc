#include <gtest/gtest.h>

extern "C" {
#include "chorus/p2p.h"
#include "crypto/crypto.h"
#include "crypto/verified.h"
}
#include "support.h"

struct VerifiedTest : testing::Test {
    void SetUp() override
    {
        uint8_t seed[32] = {7};

        ASSERT_EQ(crypto_init(), 0);
        ASSERT_EQ(key_new_seed(&key, seed), 0);
        verified = verified_new();
        ASSERT_NE(verified, nullptr);
    }

    void TearDown() override
    {
        verified_free(verified);
        key_free(key);
    }

    Bytes sign(const Bytes &message) const
    {
        Bytes signature(KEY_SIGNATURE_BYTES_MAX);
        size_t length = 0;

        EXPECT_EQ(key_sign(key, signature.data(), &length, message.data(), message.size()), 0);
        signature.resize(length);
        return signature;
    }

    int check(const Bytes &message, const Bytes &signature) const
    {
        return verified_check(verified, key_public(key), message.data(), message.size(), signature.data(),
                              signature.size());
    }

    /* Thread CPU of a check, the least of a few. */
    uint64_t cost(const Bytes &message, const Bytes &signature) const
    {
        uint64_t least = UINT64_MAX;

        for (int i = 0; i < 50; i++) {
            struct timespec begin, end;

            clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
            EXPECT_EQ(check(message, signature), 0);
            clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
            least = std::min<uint64_t>(least, uint64_t(end.tv_sec - begin.tv_sec) * 1000000000u +
                                                  uint64_t(end.tv_nsec) - uint64_t(begin.tv_nsec));
        }
        return least;
    }

    struct key *key = nullptr;
    struct verified *verified = nullptr;
};

TEST_F(VerifiedTest, TakesWhatIsRightAndNothingElse)
{
    Bytes message = bytes_of("noise-libp2p-static-key:"), signature = sign(message);

    for (int time = 0; time < 2; time++) { /* before and after it is known */
        for (size_t bit = 0; bit < signature.size() * 8; bit += 7) {
            Bytes wrong = signature;
            wrong[bit / 8] ^= uint8_t(1 << bit % 8);
            EXPECT_EQ(check(message, wrong), P2P_ERR_CALL_CRYPTO);
        }
        for (size_t bit = 0; bit < message.size() * 8; bit += 7) {
            Bytes wrong = message;
            wrong[bit / 8] ^= uint8_t(1 << bit % 8);
            EXPECT_EQ(check(wrong, signature), P2P_ERR_CALL_CRYPTO);
        }
        EXPECT_EQ(check(message, signature), 0);
    }
}

TEST_F(VerifiedTest, WrongOnesAreNotRemembered)
{
    Bytes message = bytes_of("message"), signature = sign(message);

    signature[3] ^= 1;
    EXPECT_EQ(check(message, signature), P2P_ERR_CALL_CRYPTO);
    EXPECT_EQ(check(message, signature), P2P_ERR_CALL_CRYPTO);
}

TEST_F(VerifiedTest, AnotherKeyIsAnotherSignature)
{
    Bytes message = bytes_of("message"), signature = sign(message);
    struct key *other;

    ASSERT_EQ(key_new_random(&other, KEY_ED25519, 0), 0);
    EXPECT_EQ(check(message, signature), 0);
    EXPECT_EQ(verified_check(verified, key_public(other), message.data(), message.size(), signature.data(),
                             signature.size()), P2P_ERR_CALL_CRYPTO);
    key_free(other);
}

TEST_F(VerifiedTest, WhereMessageEndsAndSignatureBeginsCounts)
{
    Bytes message = bytes_of("message"), signature = sign(message);
    Bytes longer = message, shorter(signature.begin() + 1, signature.end());

    longer.push_back(signature[0]);
    EXPECT_EQ(check(message, signature), 0);
    EXPECT_EQ(check(longer, shorter), P2P_ERR_CALL_CRYPTO);
}

TEST_F(VerifiedTest, AKnownOneCostsLittle)
{
    Bytes message = bytes_of("message"), signature = sign(message);
    struct verified *kept = verified;

    verified = nullptr; /* no memory: each is checked */
    uint64_t full = cost(message, signature);
    verified = kept;
    EXPECT_LT(cost(message, signature) * 4, full);
}

TEST_F(VerifiedTest, TheNewestStayWhateverComes)
{
    Bytes first = bytes_of("first"), first_signature = sign(first);
    uint64_t full;

    for (uint32_t i = 0; i < 3 * VERIFIED_ENTRIES_MAX / 2; i++) {
        Bytes message = {uint8_t(i), uint8_t(i >> 8)};

        ASSERT_EQ(check(message, sign(message)), 0);
        if (i % 64 == 0) {
            ASSERT_EQ(check(first, first_signature), 0); /* one that is used stays */
        }
    }
    uint64_t known = cost(first, first_signature);
    struct verified *kept = verified;
    verified = nullptr;
    full = cost(first, first_signature);
    verified = kept;
    EXPECT_LT(known * 4, full);
}
