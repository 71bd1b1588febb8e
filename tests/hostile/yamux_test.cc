#include "tests/hostile/attacks.h"

/* yamux and the streams inside: what authenticated peers send. */

namespace {

const Attack frame_attacks[] = {
    {"VersionUnknown", Stage::MUXED, Outcome::GOAWAY_,
     [](Attacker &a) { a.say("\x01" + frame(PING, SYN, 0, 1).substr(1)); }},
    {"TypeUnknown", Stage::MUXED, Outcome::GOAWAY_, [](Attacker &a) { a.say(frame(4, 0, 1, 0)); }},
    {"TypeFarAway", Stage::MUXED, Outcome::GOAWAY_, [](Attacker &a) { a.say(frame(255, 0xffff, 0xffffffff, 0)); }},
    {"Noise", Stage::MUXED, Outcome::GOAWAY_, [](Attacker &a) { a.say("\x07" + noise_bytes(65000)); }},
    {"Zeros", Stage::MUXED, Outcome::GOAWAY_, [](Attacker &a) { a.say(std::string(65000, '\0')); }},
    {"HeaderCut", Stage::MUXED, Outcome::ENDS,
     [](Attacker &a) {
         a.say(frame(PING, SYN, 0, 1).substr(0, 11));
         a.finish();
     }},
    {"PayloadCut", Stage::MUXED, Outcome::ENDS,
     [](Attacker &a) {
         a.say(frame(DATA, SYN, 1, 100) + "short");
         a.finish();
     }},
    {"DataOfTheSession", Stage::MUXED, Outcome::GOAWAY_, [](Attacker &a) { a.say(data(SYN, 0, "x")); }},
    {"WindowOfTheSession", Stage::MUXED, Outcome::GOAWAY_, [](Attacker &a) { a.say(frame(WINDOW, SYN, 0, 1)); }},
    {"PingOfAStream", Stage::MUXED, Outcome::GOAWAY_, [](Attacker &a) { a.say(frame(PING, SYN, 1, 1)); }},
    {"GoAwayOfAStream", Stage::MUXED, Outcome::GOAWAY_, [](Attacker &a) { a.say(frame(GOAWAY, 0, 1, 0)); }},
    {"ParityWrong", Stage::MUXED, Outcome::GOAWAY_, [](Attacker &a) { a.say(frame(WINDOW, SYN, 1000, 0)); }},
    {"ParityWrongWithData", Stage::MUXED, Outcome::GOAWAY_, [](Attacker &a) { a.say(data(SYN, 1000, "x")); }},
    {"SynTwice", Stage::MUXED, Outcome::GOAWAY_,
     [](Attacker &a) { a.say(frame(WINDOW, SYN, 1, 0) + frame(WINDOW, SYN, 1, 0)); }},
    {"SynTwiceWithData", Stage::MUXED, Outcome::GOAWAY_,
     [](Attacker &a) {
         uint32_t id = a.open("/echo/1.0.0");
         a.say(data(SYN, id, "again"));
     }},
    {"PongNotAskedFor", Stage::MUXED, Outcome::LIVES,
     [](Attacker &a) {
         for (uint32_t i = 0; i < 1000; i++)
             a.say(frame(PING, ACK, 0, i));
     }},
    {"PingsWithoutEnd", Stage::MUXED, Outcome::LIVES,
     [](Attacker &a) {
         std::string pings;
         for (uint32_t i = 0; i < 50000; i++)
             pings += frame(PING, SYN, 0, i);
         EXPECT_TRUE(a.say(pings));
     }},
    {"GoAwayAndMore", Stage::MUXED, Outcome::LIVES,
     [](Attacker &a) { a.say(frame(GOAWAY, 0, 0, 0) + frame(GOAWAY, 0, 0, 0xffffffff)); }},
};

const Attack window_attacks[] = {
    {"WindowOverrunAtOnce", Stage::MUXED, Outcome::GOAWAY_,
     [](Attacker &a) {
         uint32_t id = a.open("/idle/1.0.0");
         a.say(frame(DATA, 0, id, WINDOW_BYTES + 1));
     }},
    {"WindowOverrunByOne", Stage::MUXED, Outcome::GOAWAY_,
     [](Attacker &a) {
         uint32_t id = a.next_id;
         a.open("/idle/1.0.0");
         size_t used = proposal("/idle/1.0.0").size();
         a.say(data(0, id, noise_bytes(WINDOW_BYTES - used)));
         EXPECT_TRUE(a.pings()); /* to the byte */
         a.say(data(0, id, "x"));
     }},
    /* The GoAway stands behind all that it does not read, and is not waited for long. */
    {"WindowOverrunOfAStreamThatIsRead", Stage::MUXED, Outcome::ENDS,
     [](Attacker &a) {
         a.deaf = true;
         uint32_t id = a.open("/echo/1.0.0");
         std::string much;
         for (int i = 0; i < 200; i++) /* more than queue and window take, were the window as wide as it may get */
             much += data(0, id, noise_bytes(WINDOW_BYTES / 4));
         a.say(much);
     }},
    {"LengthOfFourGigabytes", Stage::MUXED, Outcome::GOAWAY_,
     [](Attacker &a) {
         uint32_t id = a.open("/echo/1.0.0");
         a.say(frame(DATA, 0, id, 0xffffffff));
     }},
    {"DeltaOverflow", Stage::MUXED, Outcome::GOAWAY_,
     [](Attacker &a) {
         uint32_t id = a.open("/echo/1.0.0");
         a.say(frame(WINDOW, 0, id, 0xffffffff));
     }},
    {"DeltaOverflowInSteps", Stage::MUXED, Outcome::GOAWAY_,
     [](Attacker &a) {
         uint32_t id = a.open("/echo/1.0.0");
         for (int i = 0; i < 4; i++)
             a.say(frame(WINDOW, 0, id, 0x40000000));
     }},
    {"DeltaOverflowWithTheSyn", Stage::MUXED, Outcome::GOAWAY_,
     [](Attacker &a) { a.say(frame(WINDOW, SYN, 1, 0xffffffff)); }},
    {"DeltaOfNobodysStream", Stage::MUXED, Outcome::LIVES,
     [](Attacker &a) { a.say(frame(WINDOW, 0, 77, 0xffffffff) + frame(WINDOW, 0, 77, 0xffffffff)); }},
    {"DataOfNobodysStream", Stage::MUXED, Outcome::LIVES,
     [](Attacker &a) {
         a.say(data(0, 77, noise_bytes(1 << 20)));
         a.say(data(FIN, 78, noise_bytes(1000)));
     }},
    {"DataAfterFin", Stage::MUXED, Outcome::GOAWAY_,
     [](Attacker &a) {
         uint32_t id = a.open("/idle/1.0.0");
         a.say(frame(WINDOW, FIN, id, 0) + data(0, id, "x"));
     }},
    {"FinTwice", Stage::MUXED, Outcome::LIVES,
     [](Attacker &a) {
         uint32_t id = a.open("/idle/1.0.0");
         a.say(frame(WINDOW, FIN, id, 0) + frame(WINDOW, FIN, id, 0));
     }},
    {"DataAfterRst", Stage::MUXED, Outcome::LIVES,
     [](Attacker &a) {
         uint32_t id = a.open("/echo/1.0.0");
         a.say(frame(WINDOW, RST, id, 0xffffffff) + data(0, id, noise_bytes(100000)));
     }},
    {"RstWithPayload", Stage::MUXED, Outcome::LIVES,
     [](Attacker &a) {
         uint32_t id = a.open("/echo/1.0.0");
         a.say(data(RST, id, noise_bytes(300000)));
     }},
    {"AllFlagsAtOnce", Stage::MUXED, Outcome::LIVES, [](Attacker &a) { a.say(data(SYN | ACK | FIN | RST, 1, "x")); }},
    {"FlagsUnknown", Stage::MUXED, Outcome::LIVES, [](Attacker &a) { a.say(frame(WINDOW, 0xfff0 | SYN, 1, 0)); }},
    {"SynAndFin", Stage::MUXED, Outcome::LIVES,
     [](Attacker &a) { a.say(data(SYN | FIN, 1, proposal("/echo/1.0.0") + "word")); }},
    {"AckOfNothing", Stage::MUXED, Outcome::LIVES,
     [](Attacker &a) {
         for (uint32_t id = 2; id < 2000; id += 2)
             a.say(frame(WINDOW, ACK, id, 0));
     }},
    {"StreamsOpenedAndResetWithoutEnd", Stage::MUXED, Outcome::LIVES,
     [](Attacker &a) {
         std::string all;
         for (uint32_t id = 1; id < 40000; id += 2)
             all += frame(WINDOW, SYN, id, 0) + frame(WINDOW, RST, id, 0);
         EXPECT_TRUE(a.say(all));
     }},
    {"StreamsResetInReverse", Stage::MUXED, Outcome::LIVES,
     [](Attacker &a) {
         for (uint32_t first = 1; first < 20000; first += 2000) {
             std::string all;
             for (uint32_t id = first; id < first + 2000; id += 2)
                 all += frame(WINDOW, SYN, id, 0);
             for (uint32_t id = first + 2000; id > first; id -= 2)
                 all += frame(WINDOW, RST, id - 2, 0);
             EXPECT_TRUE(a.say(all));
         }
     }},
    {"StreamsResetInTheirNegotiation", Stage::MUXED, Outcome::LIVES,
     [](Attacker &a) {
         std::string all;
         for (uint32_t id = 1; id < 4000; id += 2)
             all += data(SYN, id, proposal("/echo/1.0.0").substr(0, 30)) + frame(WINDOW, RST, id, 0);
         EXPECT_TRUE(a.say(all));
     }},
};

const Attack stream_attacks[] = {
    {"StreamOfNoise", Stage::MUXED, Outcome::LIVES,
     [](Attacker &a) {
         a.say(data(SYN, 1, "\x40" + noise_bytes(10000)));
         EXPECT_TRUE(a.await(WINDOW, RST, 1));
     }},
    {"StreamTokenOverItsBound", Stage::MUXED, Outcome::LIVES,
     [](Attacker &a) {
         a.say(data(SYN, 1, token("/multistream/1.0.0") + varint(1025)));
         EXPECT_TRUE(a.await(WINDOW, RST, 1));
     }},
    {"StreamVarintOverLong", Stage::MUXED, Outcome::LIVES,
     [](Attacker &a) {
         a.say(data(SYN, 1, std::string(10, '\xff')));
         EXPECT_TRUE(a.await(WINDOW, RST, 1));
     }},
    {"StreamProposalsWithoutEnd", Stage::MUXED, Outcome::LIVES,
     [](Attacker &a) {
         std::string words = token("/multistream/1.0.0");
         for (int i = 0; i < 1000; i++)
             words += token("/nobody/has/this");
         a.say(data(SYN, 1, words));
         EXPECT_TRUE(a.await(WINDOW, RST, 1));
     }},
    {"StreamListsWithoutEnd", Stage::MUXED, Outcome::LIVES,
     [](Attacker &a) {
         std::string words = token("/multistream/1.0.0");
         for (int i = 0; i < 1000; i++)
             words += token("ls");
         a.say(data(SYN, 1, words));
         EXPECT_TRUE(a.await(WINDOW, RST, 1));
     }},
    {"StreamEndsInItsNegotiation", Stage::MUXED, Outcome::LIVES,
     [](Attacker &a) {
         a.say(data(SYN | FIN, 1, proposal("/echo/1.0.0").substr(0, 30)));
         EXPECT_TRUE(a.await(WINDOW, RST, 1));
     }},
    {"StreamByteByByte", Stage::MUXED, Outcome::LIVES,
     [](Attacker &a) {
         std::string words = proposal("/echo/1.0.0") + "hello", all = frame(WINDOW, SYN, 1, 0);
         for (char byte : words)
             all += data(0, 1, std::string(1, byte));
         a.say(all);
         EXPECT_EQ(a.read(1, words.size()), words);
     }},
    {"PingWithoutAnswerRead", Stage::MUXED, Outcome::LIVES, /* it may fill the window, not more */
     [](Attacker &a) {
         uint32_t id = a.open("/ipfs/ping/1.0.0");
         a.say(data(0, id, noise_bytes(200000)));
     }},
    {"PingCut", Stage::MUXED, Outcome::LIVES,
     [](Attacker &a) {
         uint32_t id = a.open("/ipfs/ping/1.0.0");
         a.say(data(FIN, id, noise_bytes(31)));
         EXPECT_TRUE(a.await([=](const Frame &got) { return got.id == id && got.flags & (FIN | RST); }));
     }},
    {"PerfWithoutItsHeader", Stage::MUXED, Outcome::LIVES,
     [](Attacker &a) {
         uint32_t id = a.open("/perf/1.0.0");
         a.say(data(FIN, id, "1234567"));
         EXPECT_TRUE(a.await([=](const Frame &got) { return got.id == id && got.flags & (FIN | RST); }));
     }},
    {"PerfOfAllBytesThereAre", Stage::MUXED, Outcome::LIVES,
     [](Attacker &a) {
         uint32_t id = a.open("/perf/1.0.0");
         a.say(data(FIN, id, std::string(8, '\xff')));
         /* It fills the window, and waits. */
         size_t left = WINDOW_BYTES - proposal("/perf/1.0.0").size();
         EXPECT_EQ(a.read(id, left).size(), left);
     }},
};

INSTANTIATE_TEST_SUITE_P(Frames, Hostile, testing::Combine(both_drivers, testing::ValuesIn(frame_attacks)),
                         attack_name);
INSTANTIATE_TEST_SUITE_P(Windows, Hostile, testing::Combine(both_drivers, testing::ValuesIn(window_attacks)),
                         attack_name);
INSTANTIATE_TEST_SUITE_P(Streams, Hostile, testing::Combine(both_drivers, testing::ValuesIn(stream_attacks)),
                         attack_name);

/* ---- identify ---- */

/* What the victim asks of us: the stream's id, once it has proposed identify. */
uint32_t asked_for_identity(Attacker &attacker)
{
    std::string words = proposal("/ipfs/id/1.0.0"), got;
    uint32_t id = 2; /* its first stream */

    got = attacker.read(id, words.size());
    EXPECT_EQ(got, words);
    return got == words ? id : 0;
}

std::string identity(const std::string &message)
{
    return varint(message.size()) + message;
}

const Attack identify_attacks[] = {
    {"IdentityRefused", Stage::MUXED, Outcome::LIVES,
     [](Attacker &a) {
         uint32_t id = asked_for_identity(a);
         a.say(data(ACK, id, token("/multistream/1.0.0") + token("na")));
     }},
    {"IdentityReset", Stage::MUXED, Outcome::LIVES,
     [](Attacker &a) { a.say(frame(WINDOW, RST, asked_for_identity(a), 0)); }},
    {"IdentityEchoWrong", Stage::MUXED, Outcome::LIVES,
     [](Attacker &a) {
         uint32_t id = asked_for_identity(a);
         a.say(data(ACK, id, proposal("/ipfs/id/2.0.0")));
         EXPECT_TRUE(a.await(WINDOW, RST, id));
     }},
    {"IdentityNone", Stage::MUXED, Outcome::LIVES,
     [](Attacker &a) { a.say(data(ACK | FIN, asked_for_identity(a), proposal("/ipfs/id/1.0.0"))); }},
    {"IdentityNoise", Stage::MUXED, Outcome::LIVES,
     [](Attacker &a) {
         a.say(data(ACK | FIN, asked_for_identity(a), proposal("/ipfs/id/1.0.0") + identity(noise_bytes(4000))));
     }},
    {"IdentityVarintOverLong", Stage::MUXED, Outcome::LIVES,
     [](Attacker &a) {
         uint32_t id = asked_for_identity(a);
         a.say(data(ACK, id, proposal("/ipfs/id/1.0.0") + std::string(11, '\xff')));
         EXPECT_TRUE(a.await(WINDOW, RST, id));
     }},
    {"IdentityOverItsBound", Stage::MUXED, Outcome::LIVES,
     [](Attacker &a) {
         uint32_t id = asked_for_identity(a);
         a.say(data(ACK, id, proposal("/ipfs/id/1.0.0") + varint(8193)));
         EXPECT_TRUE(a.await(WINDOW, RST, id));
     }},
    {"IdentitiesWithoutEnd", Stage::MUXED, Outcome::LIVES,
     [](Attacker &a) {
         uint32_t id = asked_for_identity(a);
         std::string all = proposal("/ipfs/id/1.0.0");
         for (int i = 0; i < 11; i++)
             all += identity(field(6, std::string(8000, 'a')));
         a.say(data(ACK, id, all));
         EXPECT_TRUE(a.await(WINDOW, RST, id));
     }},
    {"IdentityOfFieldsWithoutEnd", Stage::MUXED, Outcome::LIVES,
     [](Attacker &a) {
         std::string all = proposal("/ipfs/id/1.0.0"), empties;
         for (int i = 0; i < 4000; i++)
             empties += field(3, "");
         for (int i = 0; i < 10; i++)
             all += identity(empties);
         a.say(data(ACK | FIN, asked_for_identity(a), all));
     }},
    {"IdentityCut", Stage::MUXED, Outcome::LIVES,
     [](Attacker &a) {
         a.say(data(ACK | FIN, asked_for_identity(a), proposal("/ipfs/id/1.0.0") + varint(100) + "short"));
     }},
    {"IdentityOfSomebodyElse", Stage::MUXED, Outcome::LIVES,
     [](Attacker &a) {
         std::string message = field(1, Attacker(0).public_key()) + field(6, "somebody else");
         a.say(data(ACK | FIN, asked_for_identity(a), proposal("/ipfs/id/1.0.0") + identity(message)));
     }},
    {"IdentityWithARecordOfNoise", Stage::MUXED, Outcome::LIVES,
     [](Attacker &a) {
         std::string envelope = field(1, a.public_key()) + field(2, "\x03\x01") + field(3, noise_bytes(100)) +
                                field(5, noise_bytes(64, 2));
         std::string message = field(1, a.public_key()) + field(8, envelope);
         a.say(data(ACK | FIN, asked_for_identity(a), proposal("/ipfs/id/1.0.0") + identity(message)));
     }},
    {"IdentityWithControlCharacters", Stage::MUXED, Outcome::LIVES,
     [](Attacker &a) {
         std::string message = field(1, a.public_key()) + field(5, "\x1b[31m\n\r") + field(6, std::string(9, '\0')) +
                               field(3, "/bad\nname") + field(2, noise_bytes(50)) + field(4, noise_bytes(3));
         a.say(data(ACK | FIN, asked_for_identity(a), proposal("/ipfs/id/1.0.0") + identity(message)));
     }},
    {"PushesWithoutEnd", Stage::MUXED, Outcome::LIVES,
     [](Attacker &a) {
         std::string words = proposal("/ipfs/id/push/1.0.0") + identity(field(1, a.public_key()) + field(6, "again"));
         std::string all;
         for (uint32_t id = 1; id < 1000; id += 2)
             all += data(SYN | FIN, id, words);
         EXPECT_TRUE(a.say(all));
     }},
    {"PushNeverEnds", Stage::MUXED, Outcome::LIVES,
     [](Attacker &a) { a.say(data(SYN, 1, proposal("/ipfs/id/push/1.0.0") + varint(8192) + "a")); }},
    {"PushOverItsBound", Stage::MUXED, Outcome::LIVES,
     [](Attacker &a) {
         a.say(data(SYN, 1, proposal("/ipfs/id/push/1.0.0") + varint(100000)));
         EXPECT_TRUE(a.await(WINDOW, RST, 1));
     }},
    {"AskedForItsIdentityWithoutEnd", Stage::MUXED, Outcome::LIVES,
     [](Attacker &a) {
         std::string all;
         for (uint32_t id = 1; id < 1000; id += 2)
             all += data(SYN | FIN, id, proposal("/ipfs/id/1.0.0"));
         EXPECT_TRUE(a.say(all));
     }},
};

INSTANTIATE_TEST_SUITE_P(Identify, Hostile, testing::Combine(both_drivers, testing::ValuesIn(identify_attacks)),
                         attack_name);

/* ---- SYN floods ---- */

class HostileFlood : public testing::TestWithParam<Driver>
{
};

INSTANTIATE_TEST_SUITE_P(, HostileFlood, both_drivers, driver_suffix);

/* The bound: a stream beyond it is reset and told why, and the others live. */
TEST_P(HostileFlood, ResetsStreamsBeyondTheirBound)
{
    enum { STREAMS_MAX = 1024, BEYOND = 100, RESOURCE_LIMIT = 0x1002 };
    Victim &victim = Victim::shared(GetParam());
    good_peer_is_served(victim);
    Inventory before(victim);
    {
        Attacker attacker(victim.port);
        ASSERT_TRUE(attacker.reach(Stage::MUXED));
        std::string all;
        for (uint32_t i = 0; i < STREAMS_MAX + BEYOND; i++)
            all += frame(WINDOW, SYN, 2 * i + 1, 0);
        ASSERT_TRUE(attacker.say(all));
        for (uint32_t i = STREAMS_MAX; i < STREAMS_MAX + BEYOND; i++) {
            auto got = attacker.await(WINDOW, RST, 2 * i + 1);
            ASSERT_TRUE(got) << i;
            EXPECT_EQ(got->length, uint32_t(RESOURCE_LIMIT));
        }
        EXPECT_TRUE(attacker.pings());
        EXPECT_EQ(victim.counter("streams") - 1, int64_t(STREAMS_MAX)); /* and its own, for identify */
    }
    good_peer_is_served(victim);
    before.settles();
}

/* Nothing is read: what is to be said has a bound too. */
TEST_P(HostileFlood, EndsAConnectionThatFloodsWithoutReading)
{
    Victim &victim = Victim::shared(GetParam());
    good_peer_is_served(victim);
    Inventory before(victim);
    int64_t rss_kb = victim.process->rss_kb();
    {
        Attacker attacker(victim.port);
        ASSERT_TRUE(attacker.reach(Stage::MUXED));
        attacker.deaf = true;
        bool open = true;
        for (uint32_t id = 1; open && id < 4000000; id += 10000) {
            std::string all;
            for (uint32_t i = id; i < id + 10000; i += 2)
                all += frame(WINDOW, SYN, i, 0);
            open = attacker.say(all);
        }
        EXPECT_LT(victim.process->rss_kb() - rss_kb, 20000);
    }
    good_peer_is_served(victim);
    before.settles();
}

} // namespace
