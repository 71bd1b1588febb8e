#include "tests/hostile/attacks.h"

#include <unistd.h>

/* The node dials, and who answers is hostile. */

namespace {

struct Answer {
    const char *name;
    const char *error; /* what the dial says, or "" for any */
    Stage stage;       /* by the rules so far */
    void (*run)(Attacker &attacker);
};

std::ostream &operator<<(std::ostream &out, const Answer &answer)
{
    return out << answer.name;
}

using AnswerParam = std::tuple<Driver, Answer>;

std::string answer_name(const testing::TestParamInfo<AnswerParam> &info)
{
    return std::string(std::get<1>(info.param).name) + "_" + driver_name(std::get<0>(info.param));
}

const Answer answers[] = {
    {"Closes", "P2P_ERR_CONN_RESET", Stage::CONNECTED, [](Attacker &a) { a.close(); }},
    {"Resets", "P2P_ERR_CONN_RESET", Stage::CONNECTED, [](Attacker &a) { a.reset(); }},
    {"ResetsAfterNoise", "P2P_ERR_CONN_RESET", Stage::SELECTED, [](Attacker &a) { a.reset(); }},
    {"ResetsAfterMessage1", "P2P_ERR_CONN_RESET", Stage::SELECTED,
     [](Attacker &a) {
         a.read_handshake_message();
         a.reset();
     }},
    {"SpeaksSsh", "P2P_ERR_CONN_PROTOCOL", Stage::CONNECTED, 
     [](Attacker &a) { a.send("SSH-2.0-OpenSSH_9.2p1\r\n" + noise_bytes(1000)); }},
    {"Echoes", "", Stage::CONNECTED,
     [](Attacker &a) {
         std::string got = a.receive(62);
         a.send(got);
     }},
    {"Refuses", "P2P_ERR_CONN_NEGOTIATION", Stage::CONNECTED,
     [](Attacker &a) { a.send(token("/multistream/1.0.0") + token("na")); }},
    {"ChoosesWhatWasNotOffered", "P2P_ERR_CONN_PROTOCOL", Stage::CONNECTED,
     [](Attacker &a) { a.send(proposal("/tls/1.0.0")); }},
    {"TokenOverItsBound", "P2P_ERR_CONN_PROTOCOL", Stage::CONNECTED,
     [](Attacker &a) { a.send(token("/multistream/1.0.0") + varint(1026)); }},
    {"Message2Noise", "P2P_ERR_CONN_AUTH", Stage::SELECTED,
     [](Attacker &a) { a.send(noise_frame(noise_bytes(300))); }},
    {"Message2Short", "P2P_ERR_CONN_PROTOCOL", Stage::SELECTED, [](Attacker &a) { a.send(noise_frame(noise_bytes(95))); }},
    {"Message2OverItsBound", "P2P_ERR_CONN_PROTOCOL", Stage::SELECTED, [](Attacker &a) { a.send("\x10\x01"); }},
    {"Message2OfLowOrder", "P2P_ERR_CONN_AUTH", Stage::SELECTED,
     [](Attacker &a) { a.send(noise_frame(std::string(200, '\0'))); }},
    {"SignatureWrong", "P2P_ERR_CONN_AUTH", Stage::SELECTED,
     [](Attacker &a) {
         a.read_handshake_message();
         a.send(a.handshake_message(a.payload(a.public_key(), noise_bytes(64))));
     }},
    {"PayloadNone", "P2P_ERR_CONN_AUTH", Stage::SELECTED,
     [](Attacker &a) {
         a.read_handshake_message();
         a.send(a.handshake_message(""));
     }},
    {"SomebodyElseAnswers", "P2P_ERR_CONN_PEER_ID", Stage::SELECTED,
     [](Attacker &a) {
         Attacker other(0);
         std::string signature = other.sign("noise-libp2p-static-key:" + a.static_public());
         a.read_handshake_message();
         a.send(a.handshake_message(a.payload(other.public_key(), signature)));
     }},
    {"SaysNothing", "P2P_ERR_CONN_TIMEOUT", Stage::CONNECTED, [](Attacker &a) { a.ending(); }},
    {"SaysNothingAfterMessage1", "P2P_ERR_CONN_TIMEOUT", Stage::SELECTED, [](Attacker &a) { a.ending(); }},
};

class HostileAnswer : public testing::TestWithParam<AnswerParam>
{
};

INSTANTIATE_TEST_SUITE_P(, HostileAnswer, testing::Combine(both_drivers, testing::ValuesIn(answers)), answer_name);

TEST_P(HostileAnswer, FailsTheDialWithItsReason)
{
    const Answer &answer = std::get<1>(GetParam());
    Victim &victim = Victim::shared(std::get<0>(GetParam()));
    good_peer_is_served(victim);
    Inventory before(victim);
    uint16_t port;
    int listening = listen_somewhere(&port);
    ASSERT_GE(listening, 0);
    /* The id is that of the one who answers: made first, and given its socket after. */
    std::string timeout = std::string(answer.error) == "P2P_ERR_CONN_TIMEOUT" ? "300" : "5000";
    Attacker attacker = Attacker::accepted(-1);
    victim.process->write("connect " + timeout + " /ip4/127.0.0.1/tcp/" + std::to_string(port) + "/p2p/" +
                          attacker.id() + "\n");
    attacker.take(accept_one(listening));
    ASSERT_TRUE(attacker.reach(answer.stage));
    answer.run(attacker);
    std::string result = victim.process->line();
    if (answer.error[0] != '\0') {
        EXPECT_TRUE(result == answer.error || (result == "P2P_ERR_CALL_TIMEOUT" && timeout == "300")) << result;
    } else {
        EXPECT_NE(result, "0");
    }
    attacker.close();
    ::close(listening);
    good_peer_is_served(victim);
    before.settles();
}

/* A dial that succeeds, and what an odd peer may do then. */
class HostileDialled : public testing::TestWithParam<Driver>
{
protected:
    Victim &victim = Victim::shared(GetParam());
    Attacker attacker = Attacker::accepted(-1);
    int listening = -1;

    void SetUp() override
    {
        uint16_t port;
        listening = listen_somewhere(&port);
        ASSERT_GE(listening, 0);
        victim.process->write("connect 5000 /ip4/127.0.0.1/tcp/" + std::to_string(port) + "/p2p/" + attacker.id() +
                              "\n");
        attacker.take(accept_one(listening));
        ASSERT_TRUE(attacker.reach(Stage::MUXED));
        ASSERT_EQ(victim.process->line(), "0");
    }

    void TearDown() override
    {
        attacker.close();
        ::close(listening);
        good_peer_is_served(victim);
    }
};

INSTANTIATE_TEST_SUITE_P(, HostileDialled, both_drivers, driver_suffix);

TEST_P(HostileDialled, ServesWhomItDialled)
{
    EXPECT_TRUE(attacker.pings());
    uint32_t id = attacker.open("/echo/1.0.0");
    ASSERT_NE(id, 0u);
    attacker.say(data(FIN, id, "hello"));
    EXPECT_EQ(attacker.read(id, 5), "hello");
}

TEST_P(HostileDialled, RefusesTheWrongParityThere)
{
    attacker.say(frame(WINDOW, SYN, 1, 0));
    EXPECT_EQ(attacker.goaway(), GOAWAY_PROTOCOL);
    EXPECT_NE(attacker.ending(), Ending::OPEN);
}

/* A protocol that is refused fails the open; so does a peer that resets. */
TEST_P(HostileDialled, FailsAnOpenThatIsRefused)
{
    victim.process->write("open " + attacker.id() + " /nobody/has/this\n");
    std::string words = proposal("/nobody/has/this");
    auto syn = attacker.await([](const Frame &got) { return got.flags & SYN && got.type != PING && got.id > 1; });
    ASSERT_TRUE(syn);
    attacker.say(frame(WINDOW, RST, syn->id, 0));
    victim.process->line();
    EXPECT_TRUE(attacker.pings());
}

} // namespace
