#include <gtest/gtest.h>

#include <functional>

extern "C" {
#include "chorus/p2p.h"
#include "net/multistream.h"
}
#include "tests/unit/crypto/support.h"

namespace {

const char HEADER[] = "/multistream/1.0.0";

std::string token(const std::string &name)
{
    size_t length = name.size() + 1;
    std::string out;

    if (length >= 0x80)
        out += (char)(length | 0x80), length >>= 7;
    return out + (char)length + name + "\n";
}

struct Machine {
    struct multistream ms;
    struct multistream_event event = {};
    std::string input, event_name;
    int result = 0;

    Machine() { multistream_init_listener(&ms); }
    Machine(const char *const *names, unsigned count) { multistream_init_dialer(&ms, names, count); }
    ~Machine() { multistream_fini(&ms); }
    Machine(const Machine &) = delete;

    /* Feeds what waits, at most `piece` bytes a call, each in memory of its own size. */
    multistream_event_type feed(const std::string &bytes = "", size_t piece = SIZE_MAX)
    {
        input += bytes;
        do {
            std::vector<uint8_t> span(input.begin(), input.begin() + (long)std::min(piece, input.size()));
            size_t taken = 99;

            result = multistream_recv(&ms, span.data(), span.size(), &taken, &event);
            EXPECT_LE(taken, span.size());
            event_name = event.name == nullptr ? "" : std::string(event.name, event.name_length);
            input.erase(0, taken);
            if (result != 0 || event.type != MULTISTREAM_EVENT_NONE || taken == 0)
                break;
        } while (!input.empty());
        return event.type;
    }

    std::string say(size_t capacity = 4096)
    {
        std::string out;
        size_t written = 0;

        do {
            std::vector<uint8_t> room(capacity);
            EXPECT_EQ(multistream_send(&ms, room.data(), capacity, &written), 0);
            out.append((char *)room.data(), written);
        } while (written > 0);
        EXPECT_FALSE(multistream_wants_send(&ms));
        return out;
    }
};

const char *const ONE[] = {"/noise"};
const char *const THREE[] = {"/tls/1.0.0", "/noise", "/plaintext/2.0.0"};

} // namespace

TEST(Multistream, DialerSendsHeaderAndItsOneChoiceAtOnce)
{
    Machine dialer(ONE, 1);

    EXPECT_FALSE(multistream_optimistic(&dialer.ms));
    EXPECT_EQ(dialer.say(), token(HEADER) + token("/noise"));
    EXPECT_EQ(token(HEADER)[0], 0x13);
    EXPECT_TRUE(multistream_optimistic(&dialer.ms));
    EXPECT_FALSE(multistream_done(&dialer.ms));
    EXPECT_EQ(dialer.feed(token(HEADER) + token("/noise") + "payload"), MULTISTREAM_EVENT_CHOSEN);
    EXPECT_EQ(dialer.event.index, 0u);
    EXPECT_EQ(dialer.event_name, "/noise");
    EXPECT_EQ(dialer.input, "payload");
    EXPECT_TRUE(multistream_done(&dialer.ms));
    EXPECT_EQ(dialer.feed(), MULTISTREAM_EVENT_NONE);
    EXPECT_EQ(dialer.input, "payload");
}

TEST(Multistream, DialerTakesTheHeaderBeforeItHasSpoken)
{
    Machine dialer(ONE, 1);

    EXPECT_EQ(dialer.feed(token(HEADER)), MULTISTREAM_EVENT_NONE);
    EXPECT_EQ(dialer.result, 0);
    dialer.say();
    EXPECT_EQ(dialer.feed(token("/noise")), MULTISTREAM_EVENT_CHOSEN);
}

TEST(Multistream, DialerWithSeveralChoicesWaitsForEachAnswer)
{
    Machine dialer(THREE, 3);

    EXPECT_EQ(dialer.say(), token(HEADER) + token("/tls/1.0.0"));
    EXPECT_FALSE(multistream_optimistic(&dialer.ms));
    EXPECT_EQ(dialer.feed(token(HEADER) + token("na")), MULTISTREAM_EVENT_NONE);
    EXPECT_EQ(dialer.say(), token("/noise"));
    EXPECT_FALSE(multistream_optimistic(&dialer.ms));
    EXPECT_EQ(dialer.feed(token("na")), MULTISTREAM_EVENT_NONE);
    EXPECT_EQ(dialer.say(), token("/plaintext/2.0.0"));
    EXPECT_TRUE(multistream_optimistic(&dialer.ms));
    EXPECT_EQ(dialer.feed(token("/plaintext/2.0.0")), MULTISTREAM_EVENT_CHOSEN);
    EXPECT_EQ(dialer.event.index, 2u);
}

TEST(Multistream, DialerIsToldWhenNothingWasTaken)
{
    Machine dialer(ONE, 1);

    dialer.say();
    EXPECT_EQ(dialer.feed(token(HEADER) + token("na") + "rest"), MULTISTREAM_EVENT_REFUSED);
    EXPECT_FALSE(multistream_done(&dialer.ms));
    EXPECT_FALSE(multistream_optimistic(&dialer.ms));
    EXPECT_EQ(dialer.say(), "");
    EXPECT_EQ(dialer.input, "rest");
}

TEST(Multistream, DialerRefusesAnswersThatMakeNoSense)
{
    const std::string bad[] = {token(HEADER) + token(HEADER), token(HEADER) + token("/other"),
                               token("/noise"), token("/multistream/2.0.0"),
                               token(HEADER) + token("na") + token("na") + token("na") + token("na")};

    for (const std::string &bytes : bad) {
        Machine dialer(THREE, 3);

        dialer.say();
        dialer.feed(bytes);
        EXPECT_EQ(dialer.result, P2P_ERR_STREAM_PROTOCOL) << bytes;
        EXPECT_EQ(dialer.feed("x"), MULTISTREAM_EVENT_NONE);
        EXPECT_EQ(dialer.result, P2P_ERR_STREAM_PROTOCOL);
        EXPECT_EQ(dialer.say(), "");
    }
    Machine dialer(ONE, 1);
    dialer.feed(token(HEADER) + token("/noise")); /* nothing was proposed yet */
    EXPECT_EQ(dialer.result, P2P_ERR_STREAM_PROTOCOL);
}

TEST(Multistream, ListenerMayAnswerTheHeaderBeforeItHasReadIt)
{
    Machine listener;

    EXPECT_EQ(listener.say(), token(HEADER));
    EXPECT_EQ(listener.feed(token(HEADER) + token("/noise")), MULTISTREAM_EVENT_PROPOSED);
    EXPECT_EQ(listener.event_name, "/noise");
    multistream_accept(&listener.ms, "/noise");
    EXPECT_FALSE(multistream_done(&listener.ms));
    EXPECT_EQ(listener.say(), token("/noise"));
    EXPECT_TRUE(multistream_done(&listener.ms));
}

TEST(Multistream, ListenerHandsThePayloadOfALazyDialerOn)
{
    Machine listener;

    EXPECT_EQ(listener.feed(token(HEADER) + token("/echo") + "payload"), MULTISTREAM_EVENT_PROPOSED);
    multistream_accept(&listener.ms, "/echo");
    EXPECT_EQ(listener.feed(), MULTISTREAM_EVENT_NONE);
    EXPECT_EQ(listener.input, "payload");
    EXPECT_EQ(listener.say(), token(HEADER) + token("/echo"));
}

TEST(Multistream, ListenerRefusesUntilItFindsOneItKnows)
{
    Machine listener;

    listener.feed(token(HEADER) + token("/a") + token("/b") + token("/c"));
    multistream_refuse(&listener.ms);
    EXPECT_EQ(listener.feed(), MULTISTREAM_EVENT_PROPOSED);
    EXPECT_EQ(listener.event_name, "/b");
    multistream_refuse(&listener.ms);
    EXPECT_EQ(listener.feed(), MULTISTREAM_EVENT_PROPOSED);
    multistream_accept(&listener.ms, "/c");
    EXPECT_EQ(listener.say(), token(HEADER) + token("na") + token("na") + token("/c"));
}

TEST(Multistream, AnEmptyNameIsAProposalThatNobodyKnows)
{
    for (size_t piece : {1, 4096}) {
        Machine listener;

        EXPECT_EQ(listener.feed(token(HEADER) + token("") + token("/a"), piece), MULTISTREAM_EVENT_PROPOSED);
        EXPECT_EQ(listener.event_name, "");
        multistream_refuse(&listener.ms);
        EXPECT_EQ(listener.feed(), MULTISTREAM_EVENT_PROPOSED);
        EXPECT_EQ(listener.event_name, "/a");
        EXPECT_EQ(listener.say(), token(HEADER) + token("na"));
    }
}

TEST(Multistream, ListenerTellsItsListInOneTokenOfTokens)
{
    const char *const names[] = {"/echo", "/noise"};
    Machine listener;
    std::string inner = token("/echo") + token("/noise");

    EXPECT_EQ(listener.feed(token(HEADER) + token("/x") + token("ls")), MULTISTREAM_EVENT_PROPOSED);
    multistream_refuse(&listener.ms);
    EXPECT_EQ(listener.feed(), MULTISTREAM_EVENT_LIST);
    multistream_list(&listener.ms, names, 2);
    listener.feed(token("ls") + token("/echo")); /* asked again before it was told: refused */
    EXPECT_EQ(listener.event_name, "/echo");
    multistream_accept(&listener.ms, "/echo");
    EXPECT_EQ(listener.say(), token(HEADER) + token("na") + token(inner) + token("na") + token("/echo"));
}

TEST(Multistream, ALongListIsCutAtATokenOf1024Bytes)
{
    std::vector<std::string> names(500, "/protocol/with/a/name/1.0.0");
    std::vector<const char *> pointers;
    Machine listener;
    std::string said;

    for (const std::string &name : names)
        pointers.push_back(name.c_str());
    listener.feed(token(HEADER) + token("ls"));
    multistream_list(&listener.ms, pointers.data(), (unsigned)pointers.size());
    said = listener.say().substr(20);
    ASSERT_GE(said.size(), 990u);
    EXPECT_LE(said.size(), (size_t)MULTISTREAM_TOKEN_BYTES_MAX);
    EXPECT_EQ(((said[0] & 0x7f) | said[1] << 7) + 2u, said.size());
    EXPECT_EQ(said.substr(2, 29), token(names[0]));
    EXPECT_EQ(said.back(), '\n');
}

TEST(Multistream, TheListMayBeEmptyOrRefused)
{
    Machine listener;

    listener.feed(token(HEADER) + token("ls"));
    multistream_list(&listener.ms, nullptr, 0);
    EXPECT_EQ(listener.say(), token(HEADER) + std::string("\x01\n"));
    EXPECT_EQ(listener.feed(token("ls")), MULTISTREAM_EVENT_LIST);
    multistream_refuse(&listener.ms);
    EXPECT_EQ(listener.say(), token("na"));
}

TEST(Multistream, TokensMayBeCutAnywhere)
{
    for (size_t length : {1, 60, 61, 62, 63, 64, 125, 126, 127, 128, 200, 1022, 1023}) {
        std::string name(length, 'n');

        for (size_t piece : {1, 2, 3, 7, 63, 64, 65, 500, 4096}) {
            Machine listener;

            EXPECT_EQ(listener.feed(token(HEADER) + token(name) + "rest", piece), MULTISTREAM_EVENT_PROPOSED);
            EXPECT_EQ(listener.event_name, name);
            EXPECT_EQ(listener.input, "rest");
            multistream_accept(&listener.ms, name.c_str());
            EXPECT_EQ(listener.say(MULTISTREAM_TOKEN_BYTES_MAX), token(HEADER) + token(name));
        }
    }
}

TEST(Multistream, NeverCutsATokenItSends)
{
    uint8_t out[64];
    size_t written = 1;
    Machine dialer(ONE, 1);

    EXPECT_EQ(multistream_send(&dialer.ms, out, 19, &written), P2P_ERR_CALL_SHORT);
    EXPECT_EQ(written, 0u);
    EXPECT_EQ(multistream_send(&dialer.ms, out, 27, &written), 0);
    EXPECT_EQ(written, 20u);
    EXPECT_EQ(multistream_send(&dialer.ms, out, 7, &written), P2P_ERR_CALL_SHORT);
    EXPECT_EQ(multistream_send(&dialer.ms, out, 8, &written), 0);
    EXPECT_EQ(written, 8u);
    EXPECT_TRUE(multistream_optimistic(&dialer.ms));
}

TEST(Multistream, RefusesWhatIsMalformed)
{
    const std::string good = token(HEADER);
    const std::string bad[] = {
        std::string("\0", 1),                       /* length 0 */
        std::string("\x01x", 2),                    /* an empty name without its newline */
        std::string("\x03" "abc", 4),               /* no newline */
        std::string("\x80\x00", 2) + "\n",          /* a length longer than needed */
        std::string("\x83\x00" "ab\n", 5),
        std::string("\x81\x08", 2),                 /* 1025 */
        std::string("\xff\x7f", 2),                 /* 16383 */
        std::string("\x80\x80\x01", 3),             /* three bytes of length */
        token(HEADER),                              /* the header again */
    };

    for (const std::string &bytes : bad) {
        for (size_t piece : {1, 4096}) {
            Machine listener;

            listener.feed(good + bytes, piece);
            EXPECT_EQ(listener.result, P2P_ERR_STREAM_PROTOCOL) << to_hex(bytes_of(bytes));
            EXPECT_FALSE(multistream_wants_send(&listener.ms));
        }
    }
    Machine listener;
    listener.feed(token("/noise"));
    EXPECT_EQ(listener.result, P2P_ERR_STREAM_PROTOCOL);
}

TEST(Multistream, ProposalsAreBounded)
{
    Machine listener;

    listener.feed(token(HEADER));
    for (unsigned i = 0; i < MULTISTREAM_PROPOSALS_MAX; i++) {
        ASSERT_EQ(listener.feed(token("/x")), MULTISTREAM_EVENT_PROPOSED);
        multistream_refuse(&listener.ms);
    }
    EXPECT_EQ(listener.say(64).size(), 20u + 4 * MULTISTREAM_PROPOSALS_MAX);
    listener.feed(token("/x"));
    EXPECT_EQ(listener.result, P2P_ERR_STREAM_PROTOCOL);
}

TEST(Multistream, BothEndsMeetWhateverTheCuts)
{
    for (uint64_t seed = 1; seed <= 500; seed++) {
        Random random(seed);
        Machine dialer(THREE, 3), listener;
        unsigned known = (unsigned)random.below(4);
        bool refused = false, chosen = false;

        for (int turn = 0; turn < 200 && !refused && !chosen; turn++) {
            if (random.below(2))
                listener.input += dialer.say();
            if (random.below(2))
                dialer.input += listener.say();
            if (listener.feed("", 1 + random.below(20)) == MULTISTREAM_EVENT_PROPOSED) {
                if (known < 3 && listener.event_name == THREE[known])
                    multistream_accept(&listener.ms, THREE[known]);
                else
                    multistream_refuse(&listener.ms);
            }
            dialer.feed("", 1 + random.below(20));
            ASSERT_EQ(dialer.result | listener.result, 0);
            chosen = dialer.event.type == MULTISTREAM_EVENT_CHOSEN;
            refused = dialer.event.type == MULTISTREAM_EVENT_REFUSED;
        }
        EXPECT_EQ(chosen, known < 3) << seed;
        EXPECT_EQ(refused, known == 3) << seed;
        if (chosen) {
            EXPECT_EQ(dialer.event.index, known);
            EXPECT_TRUE(multistream_done(&listener.ms));
        }
    }
}
