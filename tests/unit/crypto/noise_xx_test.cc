#include <gtest/gtest.h>

#include <sodium.h>

extern "C" {
#include "chorus/p2p.h"
#include "crypto/aead.h"
#include "crypto/noise_xx.h"
}
#include "support.h"

static void init(struct noise_xx *xx, const Record &record, bool initiator)
{
    std::string side = initiator ? "init_" : "resp_";
    Bytes prologue = record.bytes(side + "prologue"), s = record.bytes(side + "static");
    Bytes e = record.bytes(side + "ephemeral");
    uint8_t s_public[32];

    crypto_scalarmult_curve25519_base(s_public, s.data());
    noise_xx_init(xx, initiator, prologue.data(), prologue.size(), s.data(), s_public, e.data());
}

struct Pair {
    struct noise_xx side[2]; /* initiator, responder */

    explicit Pair(const Record &record)
    {
        init(&side[0], record, true);
        init(&side[1], record, false);
    }
};

/* One message from its writer to its reader; returns the bytes on the wire. */
static Bytes pass(Pair *pair, int message, const Bytes &payload)
{
    struct noise_xx *writer = &pair->side[message % 2], *reader = &pair->side[1 - message % 2];
    Bytes wire(payload.size() + noise_xx_overhead(writer)), got(payload.size());
    size_t written = 0, length = 0;

    EXPECT_TRUE(noise_xx_writes(writer));
    EXPECT_TRUE(noise_xx_reads(reader));
    EXPECT_EQ(noise_xx_write(writer, wire.data(), wire.size(), &written, payload.data(), payload.size()), 0);
    EXPECT_EQ(written, wire.size());
    EXPECT_EQ(noise_xx_read(reader, got.data(), &length, wire.data(), wire.size()), 0);
    EXPECT_EQ(length, payload.size());
    EXPECT_EQ(got, payload);
    return wire;
}

TEST(NoiseXx, GivesThePublishedMessages)
{
    std::vector<Record> records = read_records("noise_xx.txt");

    ASSERT_EQ(records.size(), 2u);
    for (const Record &record : records) {
        SCOPED_TRACE(record.text("name"));
        Pair pair(record);
        struct aead_context *aead = aead_context_new();
        uint8_t send[2][32], recv[2][32];
        uint64_t nonces[2] = {0, 0};

        for (int i = 0; i < NOISE_XX_MESSAGES; i++)
            EXPECT_EQ(to_hex(pass(&pair, i, record.bytes("payload" + std::to_string(i)))),
                      record.text("ciphertext" + std::to_string(i)));
        for (int i = 0; i < 2; i++) {
            EXPECT_TRUE(noise_xx_done(&pair.side[i]));
            noise_xx_split(&pair.side[i], send[i], recv[i]);
            if (record.has("handshake_hash")) {
                EXPECT_EQ(to_hex(pair.side[i].h, 32), record.text("handshake_hash"));
            }
        }
        EXPECT_EQ(to_hex(send[0], 32), to_hex(recv[1], 32));
        EXPECT_EQ(to_hex(recv[0], 32), to_hex(send[1], 32));
        for (int i = NOISE_XX_MESSAGES; record.has("payload" + std::to_string(i)); i++) {
            Bytes payload = record.bytes("payload" + std::to_string(i)), out(payload.size() + 16);
            struct aead_piece piece = {payload.data(), payload.size()};

            ASSERT_EQ(aead_seal(aead, send[i % 2], nonces[i % 2]++, nullptr, 0, out.data(), &piece, 1), 0);
            EXPECT_EQ(to_hex(out), record.text("ciphertext" + std::to_string(i)));
        }
        aead_context_free(aead);
    }
}

TEST(NoiseXx, AnyFlippedBitIsNoticedAtTheLatestInTheNextMessage)
{
    Record record = read_records("noise_xx.txt")[0];
    Bytes payloads[] = {{}, bytes_of("two"), bytes_of("three")};

    for (int broken = 0; broken < NOISE_XX_MESSAGES; broken++) {
        Pair model(record);
        size_t bits = 0;

        for (int i = 0; i <= broken; i++)
            bits = pass(&model, i, payloads[i]).size() * 8;
        for (size_t bit = 0; bit < bits; bit += 5) {
            Pair pair(record);
            int error = 0;

            for (int i = 0; i < NOISE_XX_MESSAGES && error == 0; i++) {
                struct noise_xx *writer = &pair.side[i % 2], *reader = &pair.side[1 - i % 2];
                Bytes wire(200), got(200);
                size_t written = 0, length;

                error = noise_xx_write(writer, wire.data(), wire.size(), &written,
                                       payloads[i].data(), payloads[i].size());
                if (error != 0)
                    break;
                if (i == broken)
                    wire[bit / 8] ^= (uint8_t)(1 << bit % 8);
                error = noise_xx_read(reader, got.data(), &length, wire.data(), written);
                if (i > broken) {
                    EXPECT_NE(error, 0);
                }
            }
            if (bit != 255) { /* the top bit of a point means nothing in X25519, but it is hashed */
                EXPECT_EQ(error, P2P_ERR_CONN_AUTH) << broken << " " << bit;
            }
        }
    }
}

TEST(NoiseXx, StateIsAsBeforeAfterARefusedMessage)
{
    Record record = read_records("noise_xx.txt")[0];
    Pair pair(record);
    Bytes wire(200), bad, got(200);
    size_t written, length;

    pass(&pair, 0, {});
    ASSERT_EQ(noise_xx_write(&pair.side[1], wire.data(), wire.size(), &written, nullptr, 0), 0);
    wire.resize(written);
    for (size_t at = 0; at < written; at++) {
        struct noise_xx before = pair.side[0];

        bad = wire;
        bad[at] ^= 1;
        EXPECT_EQ(noise_xx_read(&pair.side[0], got.data(), &length, bad.data(), bad.size()), P2P_ERR_CONN_AUTH);
        EXPECT_EQ(memcmp(&before, &pair.side[0], sizeof(before)), 0);
    }
    for (size_t cut = 0; cut < 96; cut++)
        EXPECT_EQ(noise_xx_read(&pair.side[0], got.data(), &length, wire.data(), cut), P2P_ERR_CONN_PROTOCOL);
    EXPECT_EQ(noise_xx_read(&pair.side[0], got.data(), &length, wire.data(), written), 0);
    EXPECT_EQ(length, 0u);
}

TEST(NoiseXx, RefusesPointsOfLowOrder)
{
    /* the points of order 1, 2, 4 and 8 on the curve and its twist, RFC 7748 section 7 */
    const char *points[] = {
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    };
    Record record = read_records("noise_xx.txt")[0];

    for (const char *text : points) {
        Pair pair(record);
        Bytes point = hex(text), out(200);
        size_t length, written = 0;
        struct noise_xx before;

        ASSERT_EQ(noise_xx_read(&pair.side[1], out.data(), &length, point.data(), 32), 0);
        before = pair.side[1];
        EXPECT_EQ(noise_xx_write(&pair.side[1], out.data(), out.size(), &written, nullptr, 0), P2P_ERR_CONN_AUTH);
        EXPECT_EQ(memcmp(&before, &pair.side[1], sizeof(before)), 0);
        Bytes answer = concat({point, Bytes(64)});
        ASSERT_EQ(noise_xx_write(&pair.side[0], out.data(), out.size(), &written, nullptr, 0), 0);
        EXPECT_EQ(noise_xx_read(&pair.side[0], out.data(), &length, answer.data(), answer.size()), P2P_ERR_CONN_AUTH);
    }
}

TEST(NoiseXx, KeepsTheOrderAndTheBounds)
{
    Record record = read_records("noise_xx.txt")[0];
    Pair pair(record);
    Bytes big(NOISE_XX_MESSAGE_BYTES_MAX + 1), out(NOISE_XX_MESSAGE_BYTES_MAX + 1);
    size_t n;

    EXPECT_EQ(noise_xx_write(&pair.side[1], out.data(), out.size(), &n, nullptr, 0), P2P_ERR_CALL_STATE);
    EXPECT_EQ(noise_xx_read(&pair.side[0], out.data(), &n, big.data(), 32), P2P_ERR_CALL_STATE);
    EXPECT_EQ(noise_xx_write(&pair.side[0], out.data(), out.size(), &n, big.data(), 65504), P2P_ERR_CALL_INVALID);
    EXPECT_EQ(noise_xx_read(&pair.side[1], out.data(), &n, big.data(), big.size()), P2P_ERR_CONN_PROTOCOL);
    EXPECT_EQ(noise_xx_write(&pair.side[0], out.data(), 31, &n, nullptr, 0), P2P_ERR_CALL_SHORT);
    for (int i = 0; i < 3; i++)
        pass(&pair, i, {});
    EXPECT_EQ(noise_xx_write(&pair.side[1], out.data(), out.size(), &n, nullptr, 0), P2P_ERR_CALL_STATE);
    EXPECT_EQ(noise_xx_read(&pair.side[0], out.data(), &n, big.data(), 100), P2P_ERR_CALL_STATE);
    noise_xx_fini(&pair.side[0]);
    for (size_t i = 0; i < sizeof(pair.side[0]); i++)
        EXPECT_EQ(((uint8_t *)&pair.side[0])[i], 0);
}
