#include <gtest/gtest.h>

#include <chorus/p2p.h>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <jansson.h>
#include <memory>
#include <set>
#include <netinet/in.h>
#include <string>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

/* `chorus-bench serve`, twice: what tests/interop/README.md asks of a program
 * that loads another.  No test asks how fast. */

namespace {

struct Json {
    std::shared_ptr<json_t> value;

    explicit Json(json_t *given = nullptr) : value(given, json_decref) {}
    std::string text(const char *name) const
    {
        const char *found = json_string_value(json_object_get(value.get(), name));
        return found != nullptr ? found : "";
    }
    bool has(const char *name) const { return json_object_get(value.get(), name) != nullptr; }
    double number(const char *name) const
    {
        EXPECT_TRUE(json_is_number(json_object_get(value.get(), name))) << name << " in " << all();
        return json_number_value(json_object_get(value.get(), name));
    }
    bool ok() const { return json_is_true(json_object_get(value.get(), "ok")); }
    std::string all() const
    {
        char *text = json_dumps(value.get(), JSON_COMPACT);
        std::string copy = text != nullptr ? text : "nothing";
        free(text);
        return copy;
    }
};

class Program
{
public:
    std::string address, addresses; /* the last of them; all, with commas between them */

    explicit Program(std::vector<std::string> more = {})
    {
        int in[2], out[2];
        std::vector<char *> words = {const_cast<char *>("chorus-bench"), const_cast<char *>("serve")};
        for (std::string &word : more)
            words.push_back(const_cast<char *>(word.c_str()));
        words.push_back(nullptr);
        if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0)
            abort();
        pid = fork();
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            dup2(in[0], STDIN_FILENO);
            dup2(out[1], STDOUT_FILENO);
            execv(CHORUS_BENCH, words.data());
            _exit(127);
        }
        close(in[0]), close(out[1]);
        to = fdopen(in[1], "w"), from = fdopen(out[0], "r");
        for (std::string text = line(); text != "ready" && !feof(from); text = line()) {
            address = text;
            addresses += (addresses.empty() ? "" : ",") + text;
        }
    }

    ~Program()
    {
        if (pid > 0) {
            EXPECT_EQ(end(), 0);
        }
        fclose(from);
    }

    /* At the end of its input. */
    int end()
    {
        if (to != nullptr)
            fclose(to);
        to = nullptr;
        return status();
    }

    int end_by(int number)
    {
        kill(pid, number);
        int ended = status();
        fclose(to);
        to = nullptr;
        return ended;
    }

    void say(const std::string &command)
    {
        fprintf(to, "%s\n", command.c_str());
        fflush(to);
    }

    std::string line()
    {
        char text[4096] = "";
        if (fgets(text, sizeof(text), from) == nullptr)
            return "";
        std::string all = text;
        return all.substr(0, all.find('\n'));
    }

    Json answer()
    {
        std::string text = line();
        Json parsed(json_loads(text.c_str(), 0, nullptr));
        EXPECT_NE(parsed.value, nullptr) << "'" << text << "'";
        return parsed;
    }

    Json ask(const std::string &command)
    {
        say(command);
        return answer();
    }

    /* A load's two moments, then its answer. */
    Json load(const std::string &words)
    {
        say("tag load " + words);
        for (const char *moment : {"begin", "end"}) {
            Json event = answer();
            if (event.has("ok"))
                return event;
            EXPECT_EQ(event.text("event"), moment) << event.all();
            EXPECT_EQ(event.text("id"), "tag");
        }
        return answer();
    }

private:
    int status()
    {
        int result = -1;
        EXPECT_EQ(waitpid(pid, &result, 0), pid);
        pid = -1;
        return WIFEXITED(result) ? WEXITSTATUS(result) : 256 + result;
    }

    pid_t pid = -1;
    FILE *to = nullptr, *from = nullptr;
};

/* Measures for a moment, on a busy machine for longer ones, until `enough`. */
template <typename Load, typename Enough> Json measured(Load load, Enough enough)
{
    for (double seconds = 0.1;; seconds *= 2) {
        Json told = load(" warm=0.02 seconds=" + std::to_string(seconds) + " ");
        if (!told.ok() || enough(told) || seconds > 20)
            return told;
        EXPECT_GE(told.number("seconds"), seconds);
    }
}

class ServeTest : public testing::TestWithParam<const char *>
{
protected:
    Program listener{{"--driver", GetParam()}}, dialler{{"--driver", GetParam()}};

    Json load(const std::string &work, const std::string &more)
    {
        Json told = dialler.load(work + " " + listener.address + more);
        EXPECT_TRUE(told.ok()) << work << more << ": " << told.all();
        EXPECT_EQ(told.text("id"), "tag");
        EXPECT_EQ(told.text("case"), "load");
        return told;
    }

    void expect_latency(const Json &told)
    {
        double before = 0;
        for (const char *name : {"p50Us", "p90Us", "p99Us", "p999Us", "maxUs"}) {
            EXPECT_GT(told.number(name), 0) << name;
            EXPECT_GE(told.number(name), before) << name;
            before = told.number(name);
        }
    }

    static bool something(const Json &told)
    {
        return told.number("units") > 0 && /* a fanout without a whole round has null */
               (!told.has("maxUs") || json_number_value(json_object_get(told.value.get(), "maxUs")) > 0);
    }

    /* Some units, none of which failed. */
    Json expect_work(const std::string &work, const std::string &more, bool latency = true)
    {
        Json told = measured([&](const std::string &time) { return load(work, time + more); }, something);
        EXPECT_GT(told.number("units"), 0) << work << more;
        EXPECT_EQ(told.number("failed"), 0) << work << more << ": " << told.all();
        if (latency)
            expect_latency(told);
        else
            EXPECT_FALSE(told.has("p50Us"));
        return told;
    }
};

TEST_P(ServeTest, TellsWhatAFigureDependsOn)
{
    Program three({"--driver", GetParam(), "--workers", "3"});
    Json told = three.ask("7 about");
    EXPECT_EQ(told.text("id"), "7");
    EXPECT_EQ(told.text("case"), "about");
    EXPECT_TRUE(told.ok());
    EXPECT_EQ(told.text("implementation"), "chorus-p2p");
    EXPECT_FALSE(told.text("version").empty());
    EXPECT_EQ(told.number("workers"), 3);
    EXPECT_NE(told.text("waiting").find("sleep"), std::string::npos);
    EXPECT_EQ(told.text("waiting").find("one thread"), std::string::npos) << "it has three";
    EXPECT_EQ(told.number("spinUs") > 0, told.text("waiting").find("spin") != std::string::npos);
    EXPECT_EQ(told.text("driver"), GetParam() == std::string("epoll") ? "epoll" : "io_uring");
}

TEST_P(ServeTest, ListensWhereItIsTold)
{
    struct sockaddr_in6 own = {};
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    own.sin6_family = AF_INET6;
    own.sin6_addr = in6addr_loopback;
    if (bind(fd, reinterpret_cast<struct sockaddr *>(&own), sizeof(own)) != 0)
        GTEST_SKIP() << "there is no IPv6 here";
    close(fd);
    Program six({"--driver", GetParam(), "--host", "::1"});
    EXPECT_EQ(six.address.find("/ip6/::1/tcp/"), 0u) << six.address;
    Json told = measured([&](const std::string &time) { return dialler.load("rr " + six.address + time); }, something);
    EXPECT_EQ(told.number("failed"), 0) << told.all();
}

TEST_P(ServeTest, MovesBytesInBulk)
{
    expect_work("bulk", "", false);
    expect_work("bulk", "direction=down", false);
    expect_work("bulk", "direction=both connections=2 streams=3", false);
}

TEST_P(ServeTest, MeasuresRoundTrips)
{
    expect_work("rtt", "");
    expect_work("rtt", "load=1");
    expect_work("rr", "connections=3 size=1");
    expect_work("rr", "size=3000000");
}

TEST_P(ServeTest, KeepsARate)
{
    expect_work("rtt", "rate=200 load=1");
    expect_work("rr", "connections=3 size=5000 rate=100.5");
    /* As many as are due, and never more. */
    auto begin = std::chrono::steady_clock::now();
    Json told = load("rr", " connections=2 rate=50 warm=0 seconds=1");
    std::chrono::duration<double> passed = std::chrono::steady_clock::now() - begin;
    EXPECT_LE(told.number("units"), 50 * passed.count() + 1);
}

TEST_P(ServeTest, OpensStreams)
{
    expect_work("streams", "");
    expect_work("streams", "inflight=300 size=1");
    expect_work("streams", "inflight=3 size=2000000");
}

TEST_P(ServeTest, ShakesHands)
{
    expect_work("handshake", "");
    expect_work("handshake", "parallel=20");
    expect_work("handshake", "parallel=20 distinct=1");
}

/* A node that remembers whom it met. */
class Host
{
public:
    Host()
    {
        struct p2p_error_text error;
        struct p2p_config *config = p2p_config_new();
        struct p2p_address address;
        size_t count;

        if (p2p_config_listen(config, "/ip4/127.0.0.1/tcp/0", &error) != 0 ||
            p2p_node_new(&node, config, nullptr, &error) != 0 || p2p_node_start(node, &error) != 0 ||
            p2p_node_addresses(node, &address, 1, &count) != 0)
            abort();
        p2p_config_free(config);
        where = address.text;
        guestbook = std::thread([this] { greet(); });
    }
    ~Host()
    {
        close();
        p2p_node_free(node);
    }
    /* From here on nobody else is met. */
    void close()
    {
        if (guestbook.joinable()) {
            (void)p2p_node_close(node, -1);
            guestbook.join();
        }
    }
    std::string where;
    std::set<std::string> guests;
    size_t visits = 0;

private:
    void greet()
    {
        struct p2p_event event;
        while (p2p_node_wait_event(node, &event, -1) == 0 && event.type != P2P_EVENT_NODE_CLOSED) {
            if (event.type == P2P_EVENT_PEER_CONNECTED) {
                guests.insert(event.id);
                visits++;
            }
        }
    }
    struct p2p_node *node;
    std::thread guestbook;
};

TEST_P(ServeTest, ShakesHandsWithFewOrWithEverNewIdentities)
{
    for (bool distinct : {false, true}) {
        Host host;
        auto load = [&](const std::string &time) {
            return dialler.load("handshake " + host.where + time + "parallel=3 distinct=" + (distinct ? "1" : "0"));
        };
        Json told = measured(load, [](const Json &it) { return it.number("units") > 3; });
        host.close();
        EXPECT_GT(host.visits, 3u) << told.all();
        EXPECT_EQ(host.guests.size(), distinct ? host.visits : 3) << told.all();
    }
}

TEST_P(ServeTest, HoldsConnections)
{
    Json told = expect_work("idle", "connections=100", false);
    EXPECT_EQ(told.number("units"), 100);
    EXPECT_GT(told.number("setupSeconds"), 0);
}

TEST_P(ServeTest, HoldsConnectionsBetweenManyNodes)
{
    Program many({"--driver", GetParam(), "--nodes", "3"});
    Json told = dialler.load("idle " + many.addresses + " nodes=4 connections=12 warm=0 seconds=0.1");
    EXPECT_EQ(told.number("units"), 12) << told.all();
    EXPECT_EQ(told.number("failed"), 0);
    EXPECT_GT(told.number("fixedBytes"), 0);
    EXPECT_GT(told.number("setupSeconds"), 0);
    Json refused = dialler.load("idle " + many.addresses + " nodes=4 connections=13 warm=0 seconds=0.1");
    EXPECT_FALSE(refused.ok()) << "of each two nodes, one";
}

TEST_P(ServeTest, DialsAllAtOnce)
{
    Json told = load("storm", " connections=100");
    EXPECT_EQ(told.number("units"), 100);
    EXPECT_EQ(told.number("failed"), 0);
    expect_latency(told);
}

/* What the listener says of the peers that the dialler holds for it, meanwhile. */
class FanoutTest : public ServeTest
{
protected:
    void hold(Program &holder, const Program &there, int count)
    {
        holder.say("hold load idle " + there.address + " warm=600 connections=" + std::to_string(count));
    }

    /* Loads `all` peers, so many of which end meanwhile. */
    Json lose(Program &there, int some, int all, const std::string &time)
    {
        Program other({"--driver", GetParam()});
        hold(other, there, some);
        there.say("tag load fanout -" + time + "connections=" + std::to_string(all));
        EXPECT_EQ(there.answer().text("event"), "begin");
        EXPECT_EQ(other.end(), 0);
        EXPECT_EQ(there.answer().text("event"), "end");
        return there.answer();
    }

    void expect_fanout(Program &there, int count, const std::string &more)
    {
        std::string words = "connections=" + std::to_string(count) + more;
        Json told = measured([&](const std::string &time) { return there.load("fanout -" + time + words); }, something);
        EXPECT_TRUE(told.ok()) << told.all();
        EXPECT_GT(told.number("units"), 0) << told.all();
        EXPECT_EQ(told.number("failed"), 0) << told.all();
        expect_latency(told);
    }
};

TEST_P(FanoutTest, ReachesAllPeersInRounds)
{
    hold(dialler, listener, 20);
    expect_fanout(listener, 1, "");
    expect_fanout(listener, 20, "");
    expect_fanout(listener, 20, " size=1500000");
}

TEST_P(FanoutTest, SpansWorkers)
{
    Program there({"--driver", GetParam(), "--workers", "3"});
    hold(dialler, there, 30);
    expect_fanout(there, 30, "");
    expect_fanout(there, 30, " size=100000");
}

TEST_P(FanoutTest, GoesOnWithThePeersThatAreLeft)
{
    Program there({"--driver", GetParam(), "--workers", "2"});
    hold(dialler, there, 10);
    Json told = measured([&](const std::string &time) { return lose(there, 10, 20, time); }, [](const Json &it) {
        return it.number("failed") == 10 && it.number("units") > 0;
    });
    EXPECT_TRUE(told.ok()) << told.all();
    EXPECT_GT(told.number("units"), 0);
    EXPECT_EQ(told.number("failed"), 10);
}

TEST_P(FanoutTest, EndsThoughNobodyIsLeft)
{
    Json told = measured([&](const std::string &time) { return lose(listener, 5, 5, time); },
                         [](const Json &it) { return it.number("failed") == 5; });
    EXPECT_EQ(told.number("failed"), 5) << told.all();
}

TEST_P(FanoutTest, NeedsNoAddress)
{
    Json told = listener.ask("1 load fanout " + dialler.address);
    EXPECT_FALSE(told.ok());
    EXPECT_NE(told.text("error").find("'-'"), std::string::npos) << told.all();
}

INSTANTIATE_TEST_SUITE_P(Drivers, FanoutTest, testing::Values("uring", "epoll"),
                         [](const testing::TestParamInfo<const char *> &it) { return it.param; });

TEST_P(ServeTest, UsesAllItsWorkers)
{
    Program there({"--driver", GetParam(), "--workers", "2"}), here({"--driver", GetParam(), "--workers", "3"});
    for (const char *work : {"bulk", "rr", "idle"}) {
        auto load = [&](const std::string &time) {
            return here.load(work + (" " + there.address) + time + "connections=20");
        };
        Json told = measured(load, something);
        EXPECT_TRUE(told.ok()) << told.all();
        EXPECT_GT(told.number("units"), 0) << told.all();
        EXPECT_EQ(told.number("failed"), 0) << told.all();
    }
}

TEST_P(ServeTest, RunsCommandsSideBySide)
{
    dialler.say("long load rr " + listener.address + " warm=0 seconds=600");
    EXPECT_EQ(dialler.answer().text("event"), "begin");
    EXPECT_EQ(dialler.ask("short about").text("id"), "short");
    expect_work("rr", "");
    EXPECT_EQ(dialler.end_by(SIGTERM), 0);
    Json end = dialler.answer(), told = dialler.answer();
    EXPECT_EQ(end.text("event"), "end");
    EXPECT_EQ(told.text("id"), "long");
    EXPECT_FALSE(told.ok());
    EXPECT_NE(told.text("error").find("ending"), std::string::npos) << told.all();
}

TEST_P(ServeTest, EndsWithItsInputWhateverItIsDoing)
{
    dialler.say("1 load bulk " + listener.address + " direction=both warm=600");
    dialler.say("2 load rr " + listener.address + " rate=10 warm=600");
    EXPECT_TRUE(dialler.ask("3 about").ok());
    EXPECT_EQ(dialler.end(), 0);
}

TEST_P(ServeTest, OutlivesThePeerThatItLoads)
{
    for (const char *work : {"bulk", "rtt", "rr", "streams", "handshake", "idle"}) {
        Program victim({"--driver", GetParam()});
        dialler.say(std::string("1 load ") + work + " " + victim.address + " warm=0 seconds=1");
        EXPECT_EQ(dialler.answer().text("event"), "begin");
        EXPECT_EQ(victim.end(), 0);
        EXPECT_EQ(dialler.answer().text("event"), "end");
        Json told = dialler.answer();
        EXPECT_EQ(told.text("id"), "1");
        EXPECT_TRUE(told.ok()) << told.all();
    }
    expect_work("rr", "");
}

TEST_P(ServeTest, SaysWhyACommandCannotBe)
{
    const std::string &to = listener.address;
    for (const std::string &words : {
             std::string("load"), std::string("load nonsense"), "load nonsense " + to, std::string("load rr"),
             "load rr " + to + " size", "load rr " + to + " size=", "load rr " + to + " size=0",
             "load rr " + to + " size=1.5", "load rr " + to + " size=1k", "load rr " + to + " size=99999999999",
             "load rr " + to + " rate=-1", "load rr " + to + " rate=nan", "load rr " + to + " streams=1",
             "load rr " + to + " direction=up", "load bulk " + to + " direction=sideways",
             "load bulk " + to + " =1", "load rtt " + to + " load=2",
             std::string("load rr /ip4/127.0.0.1/tcp/1"), std::string("load rr nowhere")}) {
        Json told = dialler.ask("9 " + words);
        EXPECT_FALSE(told.ok()) << words;
        EXPECT_EQ(told.text("id"), "9") << words;
        EXPECT_FALSE(told.text("error").empty()) << words;
    }
    Json told = dialler.ask("10 frobnicate");
    EXPECT_FALSE(told.ok());
    EXPECT_EQ(told.text("error").find("no command"), 0u) << told.all();
    EXPECT_FALSE(dialler.ask("alone").ok());
    EXPECT_FALSE(dialler.ask("11 about everything").ok());
}

TEST_P(ServeTest, SaysThatNobodyIsThere)
{
    std::string gone;
    {
        Program once({"--driver", GetParam()});
        gone = once.address;
    }
    Json told = dialler.ask("1 load rr " + gone);
    EXPECT_FALSE(told.ok());
    EXPECT_NE(told.text("error").find("nobody listens"), std::string::npos) << told.all();
}

TEST_P(ServeTest, PassesOverLinesThatAreTooLong)
{
    dialler.say(std::string(100000, 'x'));
    dialler.say("");
    EXPECT_TRUE(dialler.ask("1 about").ok());
}

TEST_P(ServeTest, EndsInOrder)
{
    EXPECT_EQ(listener.end_by(SIGINT), 0);
    EXPECT_EQ(dialler.end_by(SIGTERM), 0);
}

INSTANTIATE_TEST_SUITE_P(Drivers, ServeTest, testing::Values("uring", "epoll"),
                         [](const testing::TestParamInfo<const char *> &it) { return it.param; });

} // namespace
