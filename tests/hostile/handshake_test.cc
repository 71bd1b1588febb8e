#include "tests/hostile/attacks.h"

#include <csignal>

/* TCP, multistream-select and the Noise handshake: what strangers send. */

namespace {

const std::string HEADER = token("/multistream/1.0.0");

std::string repeated(const std::string &text, size_t times)
{
    std::string out;
    for (size_t i = 0; i < times; i++)
        out += text;
    return out;
}

/* Message 3 with that payload. */
void say_message_3(Attacker &attacker, const std::string &payload)
{
    attacker.send(attacker.handshake_message(payload));
}

/* An RSA key of 1,024 bits: PKIX, its modulus made up. */
std::string weak_rsa_key()
{
    std::string modulus = std::string("\x02\x81\x81\x00\xc1", 5) + noise_bytes(127), exponent("\x02\x03\x01\x00\x01", 5);
    std::string bits = std::string("\x00\x30\x81\x89", 4) + modulus + exponent;
    std::string algorithm("\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00", 15);
    std::string inner = algorithm + std::string("\x03\x81\x8d", 3) + bits;
    return std::string("\x08\x00", 2) + field(2, std::string("\x30\x81\x9f", 3) + inner);
}

const Attack tcp_attacks[] = {
    {"SaysNothingAndCloses", Stage::CONNECTED, Outcome::ENDS, [](Attacker &a) { a.finish(); }},
    {"SpeaksHttp", Stage::CONNECTED, Outcome::ENDS,
     [](Attacker &a) { a.send("GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: somebody/1.0\r\nAccept: */*\r\n\r\n"); }},
    {"SpeaksTls", Stage::CONNECTED, Outcome::ENDS,
     [](Attacker &a) { a.send(std::string("\x16\x03\x01\x05\xc4\x01\x00\x05\xc0\x03\x03", 11) + noise_bytes(1473)); }},
    {"SpeaksNoiseAtOnce", Stage::CONNECTED, Outcome::ENDS, [](Attacker &a) { a.send(a.handshake_message("")); }},
    {"SaysZeros", Stage::CONNECTED, Outcome::ENDS, [](Attacker &a) { a.send(std::string(100000, '\0')); }},
    {"SaysOnes", Stage::CONNECTED, Outcome::ENDS, [](Attacker &a) { a.send(std::string(100000, '\xff')); }},
    {"SaysNoise", Stage::CONNECTED, Outcome::ENDS, [](Attacker &a) { a.send("\x20" + noise_bytes(1 << 20)); }},
    {"SaysNewlines", Stage::CONNECTED, Outcome::ENDS, [](Attacker &a) { a.send(std::string(100000, '\n')); }},
};

const Attack multistream_attacks[] = {
    {"VarintOfThreeBytes", Stage::CONNECTED, Outcome::ENDS, [](Attacker &a) { a.send("\x80\x80\x01"); }},
    {"VarintOfTenBytes", Stage::CONNECTED, Outcome::ENDS, [](Attacker &a) { a.send(std::string(9, '\xff') + "\x01"); }},
    {"VarintWithoutAnEnd", Stage::CONNECTED, Outcome::ENDS, [](Attacker &a) { a.send(std::string(64, '\x80')); }},
    {"VarintLongerThanNeeded", Stage::CONNECTED, Outcome::ENDS,
     [](Attacker &a) { a.send(std::string("\x93\x00", 2) + "/multistream/1.0.0\n"); }},
    {"VarintCut", Stage::CONNECTED, Outcome::ENDS,
     [](Attacker &a) {
         a.send("\x93");
         a.finish();
     }},
    {"TokenEmpty", Stage::CONNECTED, Outcome::ENDS, [](Attacker &a) { a.send(std::string(1, '\0')); }},
    {"TokenOfANewline", Stage::CONNECTED, Outcome::ENDS,
     [](Attacker &a) {
         a.send(HEADER + "\x01\n"); /* a proposal that is refused, by `na` */
         a.finish();
     }},
    {"TokenWithoutNewline", Stage::CONNECTED, Outcome::ENDS, [](Attacker &a) { a.send("\x13/multistream/1.0.0x"); }},
    {"TokenOverItsBound", Stage::CONNECTED, Outcome::ENDS,
     [](Attacker &a) { a.send(HEADER + varint(1025) + std::string(1024, 'x') + "\n"); }},
    {"TokenOfSixteenKilobytes", Stage::CONNECTED, Outcome::ENDS, [](Attacker &a) { a.send(HEADER + varint(16383)); }},
    {"TokenCut", Stage::CONNECTED, Outcome::ENDS,
     [](Attacker &a) {
         a.send(HEADER + "\x07/noi");
         a.finish();
     }},
    {"AnotherVersion", Stage::CONNECTED, Outcome::ENDS, [](Attacker &a) { a.send(token("/multistream/2.0.0")); }},
    {"NoHeader", Stage::CONNECTED, Outcome::ENDS, [](Attacker &a) { a.send(token("/noise") + token("/noise")); }},
    {"HeaderTwice", Stage::CONNECTED, Outcome::ENDS, [](Attacker &a) { a.send(HEADER + HEADER); }},
    {"ProposalsWithoutEnd", Stage::CONNECTED, Outcome::ENDS,
     [](Attacker &a) { a.send(HEADER + repeated(token("/tls/1.0.0"), 10000)); }},
    {"ProposalsUnreadWithoutEnd", Stage::CONNECTED, Outcome::ENDS,
     [](Attacker &a) {
         a.deaf = true;
         a.send(HEADER + repeated(token(std::string(1000, 'p')), 1000));
     }},
    {"ListsWithoutEnd", Stage::CONNECTED, Outcome::ENDS,
     [](Attacker &a) { a.send(HEADER + repeated(token("ls"), 10000)); }},
    {"OtherProposalsFirst", Stage::CONNECTED, Outcome::LIVES,
     [](Attacker &a) {
         EXPECT_TRUE(a.send(HEADER + token("/tls/1.0.0") + token("/simultaneous") + token("ls")));
         std::string words = HEADER + token("na") + token("na");
         EXPECT_EQ(a.receive(words.size()), words);
         std::string list = a.receive(1);
         EXPECT_TRUE(a.send(token("/noise")));
         EXPECT_EQ(a.receive(static_cast<uint8_t>(list[0]) + 8).substr(static_cast<uint8_t>(list[0])), token("/noise"));
         EXPECT_TRUE(a.send(a.handshake_message("")) && a.read_handshake_message());
         say_message_3(a, a.payload());
         a.split();
     }},
};

const Attack message_1_attacks[] = {
    {"Message1Empty", Stage::SELECTED, Outcome::ENDS, [](Attacker &a) { a.send(noise_frame("")); }},
    {"Message1Short", Stage::SELECTED, Outcome::ENDS, [](Attacker &a) { a.send(noise_frame(noise_bytes(31))); }},
    {"Message1Long", Stage::SELECTED, Outcome::ENDS, [](Attacker &a) { a.send(noise_frame(noise_bytes(33))); }},
    {"Message1OverItsBound", Stage::SELECTED, Outcome::ENDS,
     [](Attacker &a) { a.send(noise_frame(noise_bytes(65535))); }},
    {"Message1OverItsBoundAnnounced", Stage::SELECTED, Outcome::ENDS, [](Attacker &a) { a.send("\xff\xff"); }},
    {"Message1OfLowOrder", Stage::SELECTED, Outcome::ENDS,
     [](Attacker &a) { a.send(noise_frame(std::string(32, '\0'))); }},
    {"Message1Cut", Stage::SELECTED, Outcome::ENDS,
     [](Attacker &a) {
         a.send(a.handshake_message("").substr(0, 20));
         a.finish();
     }},
    {"Message1Twice", Stage::SELECTED, Outcome::ENDS,
     [](Attacker &a) {
         std::string message = a.handshake_message("");
         a.send(message + message);
     }},
    {"Message1WithWordsBehind", Stage::SELECTED, Outcome::ENDS,
     [](Attacker &a) { a.send(a.handshake_message("") + noise_frame(noise_bytes(100))); }},
};

const Attack message_3_attacks[] = {
    {"Message3Empty", Stage::HALF, Outcome::ENDS, [](Attacker &a) { a.send(noise_frame("")); }},
    {"Message3Noise", Stage::HALF, Outcome::ENDS, [](Attacker &a) { a.send(noise_frame(noise_bytes(200))); }},
    {"Message3OverItsBound", Stage::HALF, Outcome::ENDS,
     [](Attacker &a) { say_message_3(a, a.payload() + field(99, std::string(4096, 'x'))); }},
    {"Message3TagWrong", Stage::HALF, Outcome::ENDS,
     [](Attacker &a) {
         std::string message = a.handshake_message(a.payload());
         message.back() = static_cast<char>(message.back() ^ 1);
         a.send(message);
     }},
    {"Message3StaticKeyWrong", Stage::HALF, Outcome::ENDS,
     [](Attacker &a) {
         std::string message = a.handshake_message(a.payload());
         message[5] = static_cast<char>(message[5] ^ 1);
         a.send(message);
     }},
    {"Message3Cut", Stage::HALF, Outcome::ENDS,
     [](Attacker &a) {
         std::string message = a.handshake_message(a.payload());
         a.send(message.substr(0, message.size() - 1));
         a.finish();
     }},
    {"PayloadNone", Stage::HALF, Outcome::ENDS, [](Attacker &a) { say_message_3(a, ""); }},
    {"PayloadNoise", Stage::HALF, Outcome::ENDS, [](Attacker &a) { say_message_3(a, noise_bytes(300)); }},
    {"PayloadVarintOverLong", Stage::HALF, Outcome::ENDS,
     [](Attacker &a) { say_message_3(a, a.payload() + std::string(11, '\x80') + "\x01"); }},
    {"PayloadFieldCut", Stage::HALF, Outcome::ENDS,
     [](Attacker &a) { say_message_3(a, a.payload() + "\x1a\x7f" + "short"); }},
    {"PayloadWithoutKey", Stage::HALF, Outcome::ENDS, [](Attacker &a) { say_message_3(a, field(2, a.signature())); }},
    {"PayloadWithoutSignature", Stage::HALF, Outcome::ENDS,
     [](Attacker &a) { say_message_3(a, field(1, a.public_key())); }},
    {"SignatureEmpty", Stage::HALF, Outcome::ENDS, [](Attacker &a) { say_message_3(a, a.payload(a.public_key(), "")); }},
    {"SignatureOfZeros", Stage::HALF, Outcome::ENDS,
     [](Attacker &a) { say_message_3(a, a.payload(a.public_key(), std::string(64, '\0'))); }},
    {"SignatureOneBitWrong", Stage::HALF, Outcome::ENDS,
     [](Attacker &a) {
         std::string signature = a.signature();
         signature[40] = static_cast<char>(signature[40] ^ 4);
         say_message_3(a, a.payload(a.public_key(), signature));
     }},
    {"SignatureTooLong", Stage::HALF, Outcome::ENDS,
     [](Attacker &a) { say_message_3(a, a.payload(a.public_key(), a.signature() + "x")); }},
    {"SignatureWithoutPrefix", Stage::HALF, Outcome::ENDS,
     [](Attacker &a) { say_message_3(a, a.payload(a.public_key(), a.sign(a.static_public()))); }},
    {"SignatureOfAnotherStaticKey", Stage::HALF, Outcome::ENDS,
     [](Attacker &a) {
         say_message_3(a, a.payload(a.public_key(), a.sign("noise-libp2p-static-key:" + noise_bytes(32))));
     }},
    {"SignatureByAnotherKey", Stage::HALF, Outcome::ENDS,
     [](Attacker &a) { say_message_3(a, a.payload(Attacker(0).public_key(), a.signature())); }},
    {"KeyOfAnUnknownType", Stage::HALF, Outcome::ENDS,
     [](Attacker &a) {
         say_message_3(a, a.payload(std::string("\x08\x2a", 2) + field(2, noise_bytes(32)), a.signature()));
     }},
    {"KeyOfTheWrongSize", Stage::HALF, Outcome::ENDS,
     [](Attacker &a) {
         say_message_3(a, a.payload(std::string("\x08\x01", 2) + field(2, noise_bytes(31)), a.signature()));
     }},
    {"KeyOfLowOrder", Stage::HALF, Outcome::ENDS,
     [](Attacker &a) {
         std::string key = std::string("\x08\x01", 2) + field(2, "\x01" + std::string(31, '\0'));
         say_message_3(a, a.payload(key, "\x01" + std::string(63, '\0')));
     }},
    {"KeyOfAWeakRsa", Stage::HALF, Outcome::ENDS,
     [](Attacker &a) { say_message_3(a, a.payload(weak_rsa_key(), noise_bytes(128))); }},
    {"MuxersWithoutEnd", Stage::HALF, Outcome::ENDS, /* ignored; then it is no multistream */
     [](Attacker &a) {
         std::string list;
         for (int i = 0; i < 101; i++)
             list += field(2, "/yamux/1.0.0");
         say_message_3(a, field(1, a.public_key()) + field(2, a.signature()) + field(4, list));
         a.split();
         a.say(frame(PING, SYN, 0, 1));
     }},
    {"ExtensionsOfNoise", Stage::HALF, Outcome::ENDS,
     [](Attacker &a) {
         say_message_3(a, field(1, a.public_key()) + field(2, a.signature()) + field(4, noise_bytes(100)));
     }},
};

const Attack record_attacks[] = {
    {"RecordEmpty", Stage::MUXED, Outcome::LIVES, 
     [](Attacker &a) {
         for (int i = 0; i < 100; i++)
             a.send(a.record(""));
     }},
    {"RecordShorterThanATag", Stage::MUXED, Outcome::ENDS, [](Attacker &a) { a.send(noise_frame(std::string(15, 'x'))); }},
    {"RecordOfNothing", Stage::MUXED, Outcome::ENDS, [](Attacker &a) { a.send(noise_frame("")); }},
    {"RecordOfNoise", Stage::MUXED, Outcome::ENDS, [](Attacker &a) { a.send(noise_frame(noise_bytes(65535))); }},
    {"RecordTagWrong", Stage::MUXED, Outcome::ENDS,
     [](Attacker &a) {
         std::string record = a.record(frame(PING, SYN, 0, 1));
         record.back() = static_cast<char>(record.back() ^ 1);
         a.send(record);
     }},
    {"RecordOneBitWrong", Stage::MUXED, Outcome::ENDS,
     [](Attacker &a) {
         std::string record = a.record(frame(PING, SYN, 0, 1));
         record[2] = static_cast<char>(record[2] ^ 1);
         a.send(record);
     }},
    {"RecordReplayed", Stage::MUXED, Outcome::ENDS,
     [](Attacker &a) {
         std::string record = a.record(frame(PING, SYN, 0, 1));
         a.send(record + record);
     }},
    {"RecordReplayedLate", Stage::MUXED, Outcome::ENDS,
     [](Attacker &a) {
         std::string record = a.record(frame(PING, SYN, 0, 1));
         a.send(record);
         EXPECT_TRUE(a.pings());
         a.send(record);
     }},
    {"RecordsReordered", Stage::MUXED, Outcome::ENDS,
     [](Attacker &a) {
         std::string first = a.record(frame(PING, SYN, 0, 1)), second = a.record(frame(PING, SYN, 0, 2));
         a.send(second + first);
     }},
    {"RecordMissing", Stage::MUXED, Outcome::ENDS,
     [](Attacker &a) {
         a.record(frame(PING, SYN, 0, 1));
         a.send(a.record(frame(PING, SYN, 0, 2)));
     }},
    {"RecordCut", Stage::MUXED, Outcome::ENDS,
     [](Attacker &a) {
         a.send(a.record(frame(PING, SYN, 0, 1)).substr(0, 10));
         a.finish();
     }},
    {"RecordCutInItsLength", Stage::MUXED, Outcome::ENDS,
     [](Attacker &a) {
         a.send(a.record(frame(PING, SYN, 0, 1)).substr(0, 1));
         a.finish();
     }},
    {"RecordCutAndTheNextOne", Stage::MUXED, Outcome::ENDS,
     [](Attacker &a) {
         std::string record = a.record(frame(PING, SYN, 0, 1));
         a.send(record.substr(0, record.size() - 1) + a.record(frame(PING, SYN, 0, 2)));
     }},
    {"RecordSealedForTheOtherSide", Stage::MUXED, Outcome::ENDS,
     [](Attacker &a) {
         std::string length = a.receive(2);
         std::string body = a.receive(static_cast<uint8_t>(length[0]) << 8 | static_cast<uint8_t>(length[1]));
         a.send(length + body);
     }},
};


TEST_P(Hostile, IsDealtWith)
{
    attack();
}

INSTANTIATE_TEST_SUITE_P(Tcp, Hostile, testing::Combine(both_drivers, testing::ValuesIn(tcp_attacks)), attack_name);
INSTANTIATE_TEST_SUITE_P(Multistream, Hostile, testing::Combine(both_drivers, testing::ValuesIn(multistream_attacks)),
                         attack_name);
INSTANTIATE_TEST_SUITE_P(NoiseMessage1, Hostile, testing::Combine(both_drivers, testing::ValuesIn(message_1_attacks)),
                         attack_name);
INSTANTIATE_TEST_SUITE_P(NoiseMessage3, Hostile, testing::Combine(both_drivers, testing::ValuesIn(message_3_attacks)),
                         attack_name);
INSTANTIATE_TEST_SUITE_P(NoiseRecords, Hostile, testing::Combine(both_drivers, testing::ValuesIn(record_attacks)),
                         attack_name);

class HostileSteps : public testing::TestWithParam<Driver>
{
};

INSTANTIATE_TEST_SUITE_P(, HostileSteps, both_drivers, driver_suffix);

/* All that a dialer says before it needs an answer, ended after each byte. */
TEST_P(HostileSteps, EndsAtEveryByteOfTheFirstWords)
{
    Victim &victim = Victim::shared(GetParam());
    good_peer_is_served(victim);
    Inventory before(victim);
    size_t bytes = 1;

    for (size_t cut = 0; cut < bytes; cut++) {
        Attacker attacker(victim.port);
        std::string words = proposal("/noise") + attacker.handshake_message("");
        bytes = words.size();
        ASSERT_TRUE(attacker.send(words.substr(0, cut)));
        if (cut % 2 == 0) {
            attacker.reset();
            continue;
        }
        attacker.finish();
        EXPECT_NE(attacker.ending(), Ending::OPEN) << cut;
    }
    good_peer_is_served(victim);
    before.settles();
}

/* The same words, a byte at a time: nothing is wrong with that. */
TEST_P(HostileSteps, TakesWordsByteByByte)
{
    Victim &victim = Victim::shared(GetParam());
    good_peer_is_served(victim);
    Inventory before(victim);
    {
        Attacker attacker(victim.port);
        for (char byte : proposal("/noise") + attacker.handshake_message(""))
            ASSERT_TRUE(attacker.send(std::string(1, byte)));
        EXPECT_EQ(attacker.receive(28), proposal("/noise"));
        ASSERT_TRUE(attacker.read_handshake_message());
        for (char byte : attacker.handshake_message(attacker.payload()))
            ASSERT_TRUE(attacker.send(std::string(1, byte)));
        attacker.split();
        for (char byte : attacker.record(frame(PING, SYN, 0, 7)))
            ASSERT_TRUE(attacker.send(std::string(1, byte)));
        EXPECT_TRUE(attacker.await(PING, ACK, 0));
    }
    before.settles();
}

TEST_P(HostileSteps, IsResetAtEveryStage)
{
    Victim &victim = Victim::shared(GetParam());
    good_peer_is_served(victim);
    Inventory before(victim);

    for (Stage stage : {Stage::CONNECTED, Stage::SELECTED, Stage::HALF, Stage::SECURED, Stage::MUXED}) {
        for (bool early_muxer : {true, false}) {
            Attacker attacker(victim.port, early_muxer);
            EXPECT_TRUE(attacker.reach(stage));
            attacker.reset();
        }
    }
    good_peer_is_served(victim);
    before.settles();
}

/* Streams in every state when the connection is reset. */
TEST_P(HostileSteps, IsResetWithStreamsInEveryState)
{
    Victim &victim = Victim::shared(GetParam());
    good_peer_is_served(victim);
    Inventory before(victim);

    for (int state = 0; state < 9; state++) {
        Attacker attacker(victim.port);
        ASSERT_TRUE(attacker.reach(Stage::MUXED));
        uint32_t id = state < 3 ? 1 : attacker.open(state < 7 ? "/echo/1.0.0" : "/stuck/1.0.0");
        ASSERT_NE(id, 0u);
        std::string half = proposal("/echo/1.0.0").substr(0, 25);
        if (state == 1)
            attacker.say(frame(WINDOW, SYN, id, 0));
        else if (state == 2)
            attacker.say(data(SYN, id, half));
        else if (state == 4)
            attacker.say(data(0, id, noise_bytes(50000)));
        else if (state == 5)
            attacker.say(data(FIN, id, "the end"));
        else if (state == 6)
            attacker.say(frame(WINDOW, RST, id, 7));
        else if (state == 7)
            attacker.say(data(0, id, noise_bytes(WINDOW_BYTES - 100)));
        else if (state == 8)
            attacker.say(data(FIN, id, noise_bytes(1000)));
        EXPECT_TRUE(attacker.pings()) << state; /* it has taken all that */
        attacker.reset();
    }
    good_peer_is_served(victim);
    before.settles();
}

/* A stream's FIN, and the end of the connection in the same segment: whoever used the stream hears of it. */
TEST_P(HostileSteps, IsResetRightBehindTheEndOfAStream)
{
    auto victim = Victim::node(GetParam());
    ASSERT_TRUE(victim);
    for (int i = 0; i < 100; i++) {
        Attacker attacker(victim->port);
        ASSERT_TRUE(attacker.reach(Stage::MUXED));
        auto asked = attacker.await([](const Frame &got) { return got.flags & SYN && got.id > 0 && got.id % 2 == 0; });
        ASSERT_TRUE(asked); /* identify */
        attacker.say(data(ACK, asked->id, proposal("/ipfs/id/1.0.0") + varint(4) + field(6, "me")));
        ASSERT_TRUE(attacker.pings());
        attacker.send(attacker.record(frame(WINDOW, FIN, asked->id, 0)) + noise_frame(noise_bytes(100)));
        EXPECT_NE(attacker.ending(), Ending::OPEN);
    }
    EXPECT_EQ(victim->stop(), 0) << victim->process->errors();
}

/* As the muxer is agreed on by multistream-select inside the secure channel. */
TEST_P(HostileSteps, SaysNonsenseInsteadOfAMuxer)
{
    Victim &victim = Victim::shared(GetParam());
    good_peer_is_served(victim);
    Inventory before(victim);

    for (const std::string &words : {std::string(100, '\0'), std::string(10, '\xff'), HEADER + varint(2000),
                                     HEADER + HEADER, HEADER + repeated(token("/mplex/6.7.0"), 1000),
                                     noise_bytes(65519), frame(PING, SYN, 0, 1)}) {
        Attacker attacker(victim.port, false);
        ASSERT_TRUE(attacker.reach(Stage::SECURED));
        attacker.say(words);
        EXPECT_NE(attacker.ending(), Ending::OPEN) << words.size();
    }
    Attacker late(victim.port, false);
    EXPECT_TRUE(late.reach(Stage::MUXED));
    EXPECT_TRUE(late.pings());
    late.close();
    good_peer_is_served(victim);
    before.settles();
}

} // namespace
