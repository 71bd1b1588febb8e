#include <gtest/gtest.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <jansson.h>
#include <memory>
#include <netinet/in.h>
#include <set>
#include <sstream>
#include <string>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern "C" {
#include "bench/agent.h"
#include "bench/bench.h"
#include "bench/dial.h"
}

/* `chorus-bench run` with programs that do no work (fake_side.py), well and
 * wrong. */

namespace {

struct Bench {
    std::string folder, printed;
    int status = -1;

    Bench()
    {
        char name[] = "/tmp/chorus-bench-test.XXXXXX";
        folder = mkdtemp(name);
    }
    ~Bench()
    {
        std::string command = "rm -r '" + folder + "'";
        EXPECT_EQ(system(command.c_str()), 0);
    }

    static std::string fake(const std::string &mode) { return "python3 " BENCH_FAKE_SIDE " " + mode; }

    /* With `ours` for ours. */
    int start(const std::string &ours, const std::string &more = "")
    {
        return start_with_references(ours, "--no-references " + more);
    }

    int start_with_references(const std::string &ours, const std::string &more)
    {
        std::string command = CHORUS_BENCH " run --no-peers --runs 2 --seconds 0.05 --warm 0.01 --repeats 0 --out '" +
                              folder + "' --ours '" + ours + "' " + more + " 2>&1";
        FILE *output = popen(command.c_str(), "r");
        char text[4096];

        printed.clear();
        while (fgets(text, sizeof(text), output) != nullptr)
            printed += text;
        int ended = pclose(output);
        status = WIFEXITED(ended) ? WEXITSTATUS(ended) : -1;
        results.reset(json_load_file((folder + "/results.json").c_str(), 0, nullptr), json_decref);
        return status;
    }

    std::shared_ptr<json_t> results;

    json_t *row(size_t index = 0) const
    {
        return json_array_get(json_object_get(results.get(), "rows"), index);
    }
    json_t *series(size_t index = 0) const { return json_array_get(json_object_get(row(), "series"), index); }
    long long number(const char *key) const { return json_integer_value(json_object_get(series(), key)); }
    double median(const char *figure) const
    {
        json_t *figures = json_object_get(series(), "figures");
        return json_number_value(json_object_get(json_object_get(figures, figure), "median"));
    }
    std::string error(size_t index = 0) const
    {
        const char *text = json_string_value(json_array_get(json_object_get(series(), "errors"), index));
        return text != nullptr ? text : "";
    }
    bool complete() const { return json_is_true(json_object_get(results.get(), "complete")); }
    std::string missing() const
    {
        json_t *first = json_array_get(json_object_get(results.get(), "missing"), 0);
        const char *text = json_string_value(json_object_get(first, "reason"));
        return text != nullptr ? text : "";
    }
};

/* Stands for perf: `record` makes its file, and does what is said, `script` prints
 * samples. */
class FakePerf
{
public:
    FakePerf(const std::string &folder, const std::string &also, int samples) : before(getenv("PATH"))
    {
        std::string path = folder + "/perf";
        std::ofstream file(path);
        file << "#!/bin/sh\nif [ $1 = record ]; then\n" << also
             << "\nwhile [ $1 != -o ]; do shift; done\n: > $2\nelse\ncat <<'E'\n";
        for (int i = 0; i < samples; i++)
            file << "\n 12 " << (i % 4 == 0 ? "tcp_ack ([kernel.kallsyms])\n" : "main (/bin/chorus-bench)\n");
        file << "E\nfi\n";
        file.close();
        chmod(path.c_str(), 0755);
        setenv("PATH", (folder + ":" + before).c_str(), 1);
    }
    ~FakePerf() { setenv("PATH", before.c_str(), 1); }

private:
    std::string before;
};

TEST(Run, MeasuresAndReports)
{
    Bench run;

    EXPECT_EQ(run.start(Bench::fake("good"), "--row rr-32-1"), 0) << run.printed;
    EXPECT_TRUE(run.complete());
    EXPECT_EQ(run.number("runs"), 2);
    EXPECT_NEAR(run.median("rate"), 1000, 1e-6);
    EXPECT_EQ(run.median("p99"), 30);
    EXPECT_GT(run.median("dialler_cpu"), 0);
    EXPECT_EQ(access((run.folder + "/report.md").c_str(), R_OK), 0);
}

/* bench/README.md, "results.json". */
TEST(Run, WhatItWritesIsAsDescribed)
{
    Bench run;
    FakePerf perf(run.folder, "", 40);
    std::string check = "python3 " BENCH_CHECK_REPORT " schema " BENCH_README " '" + run.folder + "/results.json' 2>&1";

    EXPECT_EQ(run.start(Bench::fake("good"), "--runs 1 --idle-seconds 0.1 --row bulk-up --row rr-1k-100 --row idle-100 "
                                             "--row storm-200 --peer nim=/nowhere/nim --peer py='" +
                                             Bench::fake("refuses") + "' --peer go='" + Bench::fake("good") + "'"), 3)
        << run.printed;
    std::string said;
    char text[512];
    FILE *output = popen(check.c_str(), "r");
    while (fgets(text, sizeof(text), output) != nullptr)
        said += text;
    EXPECT_EQ(pclose(output), 0) << said;
    EXPECT_EQ(system(("python3 " BENCH_CHECK_REPORT " page '" + run.folder + "/report.html'").c_str()), 0);
}

TEST(Run, EveryWorkHasItsFigures)
{
    for (const char *row : {"bulk-up", "handshake-1", "rtt-load", "streams-1", "storm-200", "fanout-100", "idle-100"}) {
        Bench run;

        EXPECT_EQ(run.start(Bench::fake("good"), std::string("--idle-seconds 0.1 --row ") + row), 0) << run.printed;
        const char *figure = std::string(row) == "idle-100" ? "memory_kernel" : "rate";
        EXPECT_TRUE(json_is_object(json_object_get(json_object_get(run.series(), "figures"), figure)))
            << row << "\n" << run.printed;
    }
}

TEST(Run, ReferencesKeepTheContract)
{
    Bench run;

    /* So long that each has done something by then, on a busy machine and under a sanitizer, too. */
    EXPECT_EQ(run.start_with_references(Bench::fake("good"), "--runs 1 --seconds 1 --row bulk-up --row bulk-down --row rtt "
                                                            "--row handshake-50 --row rr-open --row rr-32-1"), 0)
        << run.printed;
    std::set<std::string> seen;
    double rates = 0;
    for (size_t r = 0; r < json_array_size(json_object_get(run.results.get(), "rows")); r++) {
        json_t *all = json_object_get(run.row(r), "series"), *series;
        size_t index;
        json_array_foreach (all, index, series) {
            if (!json_is_true(json_object_get(series, "reference")))
                continue;
            json_t *rate = json_object_get(json_object_get(series, "figures"), "rate");
            EXPECT_TRUE(json_is_number(json_object_get(rate, "median"))) << run.printed;
            rates += json_number_value(json_object_get(rate, "median")); /* one of them may have met a stall */
            seen.insert(json_string_value(json_object_get(series, "dialler")));
        }
    }
    EXPECT_GT(rates, 0);
    EXPECT_EQ(seen, (std::set<std::string>{"raw", "raw-aead", "raw-sleep", "crypto"}));
}

TEST(Run, SaysWhichSideDiedAndWhy)
{
    Bench run;

    EXPECT_EQ(run.start(Bench::fake("dies"), "--row rr-32-1"), 3) << run.printed;
    EXPECT_FALSE(run.complete());
    EXPECT_NE(run.error().find("ours (dialler): it ended (status 1); it wrote: it was too much"), std::string::npos)
        << run.error();
    EXPECT_EQ(run.missing(), run.error());
    std::ifstream report(run.folder + "/report.md");
    std::string text((std::istreambuf_iterator<char>(report)), {});
    EXPECT_NE(text.find("partial"), std::string::npos);
    EXPECT_NE(text.find("it was too much"), std::string::npos);
}

TEST(Run, SaysThatASideDiedWhileItWasMeasured)
{
    Bench run;

    EXPECT_EQ(run.start(Bench::fake("falls"), "--row rr-32-1"), 3) << run.printed;
    EXPECT_NE(run.error().find("ours (dialler): it ended (signal 11"), std::string::npos) << run.error();
}

TEST(Run, RefusesNonsense)
{
    struct {
        const char *mode, *says;
    } const cases[] = {{"babbles", "it answered 'what?', which is no JSON object"},
                       {"answers", "it answered without a measurement"},
                       {"lacks", "its answer lacks units or seconds"},
                       {"refuses", "it refused: no bulk today"},
                       {"fails", "no unit was completed, 7 failed: nobody is there"}};

    for (const auto &one : cases) {
        Bench run;
        EXPECT_EQ(run.start(Bench::fake(one.mode), "--row rr-32-1"), 3) << run.printed;
        EXPECT_NE(run.error().find(one.says), std::string::npos) << run.error();
    }
}

TEST(Run, DoesAgainWhatFailedOnce)
{
    Bench run;

    EXPECT_EQ(run.start(Bench::fake("once " + run.folder + "/died"), "--row rr-32-1"), 0) << run.printed;
    EXPECT_TRUE(run.complete());
    EXPECT_EQ(run.number("runs"), 2);
    EXPECT_NE(run.error().find("not the first time"), std::string::npos) << run.error();
}

TEST(Run, SkipsAndNamesPeersThatAreNotThere)
{
    Bench run;

    EXPECT_EQ(run.start(Bench::fake("good"), "--row rtt --peer nim=/nowhere/nim --peer zig='" + Bench::fake("mute") +
                                               "' --peer py='" + Bench::fake("ignorant") + "'"), 0)
        << run.printed;
    EXPECT_TRUE(run.complete()) << "a peer that cannot be measured is named, not missed";
    json_t *skipped = json_object_get(run.results.get(), "skipped");
    ASSERT_EQ(json_array_size(skipped), 3u);
    for (const char *name : {"nim", "zig", "py"})
        EXPECT_NE(run.printed.find(std::string("skipped: ") + name), std::string::npos) << run.printed;
    EXPECT_NE(run.printed.find("no luck today"), std::string::npos) << run.printed;
    EXPECT_NE(run.printed.find("no command about"), std::string::npos) << run.printed;
}

TEST(Run, DoesNothingWithoutOurs)
{
    Bench run;

    EXPECT_EQ(run.start(Bench::fake("mute"), "--row rtt"), 1) << run.printed;
    EXPECT_NE(access((run.folder + "/report.md").c_str(), R_OK), 0);
}

TEST(Run, PairsPeersWithOursBothWays)
{
    Bench run;

    EXPECT_EQ(run.start(Bench::fake("good"), "--row rtt --peer py='" + Bench::fake("good") + "'"), 0) << run.printed;
    ASSERT_EQ(json_array_size(json_object_get(run.row(), "series")), 4u);
    EXPECT_STREQ(json_string_value(json_object_get(run.series(3), "dialler")), "py");
    EXPECT_STREQ(json_string_value(json_object_get(run.series(3), "listener")), "ours");
}

TEST(Run, GivesAProgramTheTimeToWarmUpThatItAsksFor)
{
    Bench run;

    EXPECT_EQ(run.start(Bench::fake("good"), "--runs 1 --row rtt --peer py='" + Bench::fake("slow") + "'"), 0)
        << run.printed;
    EXPECT_TRUE(run.complete());
}

/* A process that is not the bench's, and never rests. */
struct Burner {
    pid_t pid = fork();

    Burner()
    {
        if (pid != 0)
            return;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
            ;
    }
    ~Burner()
    {
        kill(pid, SIGKILL);
        waitpid(pid, nullptr, 0);
    }
};

TEST(Run, MarksAndRepeatsWhatOthersDisturb)
{
    Bench run;
    Burner burner;

    EXPECT_EQ(run.start(Bench::fake("good"), "--row rr-32-1 --seconds 0.3 --repeats 1"), 0) << run.printed;
    EXPECT_EQ(run.number("repeats"), 2);
    EXPECT_TRUE(json_is_true(json_array_get(json_object_get(run.series(), "disturbed"), 0)));
    EXPECT_NE(run.printed.find("disturbed"), std::string::npos);
}

TEST(Run, GivesEachRowFewerRunsWhereTimeIsShort)
{
    Bench run;

    EXPECT_EQ(run.start(Bench::fake("good"), "--runs 90 --minutes 0.1 --row rr-32-1 --row rr-1k-1 --row rtt"), 3)
        << run.printed;
    EXPECT_FALSE(run.complete());
    EXPECT_GE(run.number("runs"), 1) << run.printed;
    EXPECT_LE(run.number("runs"), 6) << "a third of the six seconds";
    EXPECT_EQ(run.missing(), "out of time");
}

class RunSignal : public testing::TestWithParam<int>
{
};

INSTANTIATE_TEST_SUITE_P(All, RunSignal, testing::Values(SIGINT, SIGTERM, SIGHUP));

TEST_P(RunSignal, EndsWithAReportOfWhatThereIs)
{
    Bench run;
    std::string command = "echo $$; exec " CHORUS_BENCH " run --no-peers --no-references --runs 100 --seconds 0.5 --out '" +
                          run.folder + "' --ours '" + Bench::fake("good") + "' --row rr-32-1 --row rtt 2>&1";
    FILE *output = popen(command.c_str(), "r");
    char text[4096];
    pid_t pid = fgets(text, sizeof(text), output) != nullptr ? atoi(text) : 0;

    while (fgets(text, sizeof(text), output) != nullptr && strncmp(text, "about", 5) != 0)
        ;
    ASSERT_GT(pid, 0);
    kill(pid, GetParam());
    while (fgets(text, sizeof(text), output) != nullptr)
        ;
    EXPECT_EQ(WEXITSTATUS(pclose(output)), 3);
    run.results.reset(json_load_file((run.folder + "/results.json").c_str(), 0, nullptr), json_decref);
    EXPECT_FALSE(run.complete());
    EXPECT_EQ(run.missing(), "interrupted");
    std::ifstream page(run.folder + "/report.md");
    std::stringstream all;
    all << page.rdbuf();
    EXPECT_NE(all.str().find("This report is partial"), std::string::npos);
}

TEST(Run, ResumesByRow)
{
    Bench run;
    std::string died = run.folder + "/died";

    EXPECT_EQ(run.start(Bench::fake("good"), "--row rtt --row rr-32-1 --minutes 0.01"), 3) << run.printed;
    EXPECT_EQ(run.missing(), "out of time");
    EXPECT_EQ(run.start(Bench::fake("good"), "--row rtt --row rr-32-1"), 1) << "never writes over results";
    EXPECT_NE(run.printed.find("--resume"), std::string::npos) << run.printed;
    EXPECT_EQ(run.start(Bench::fake("good"), "--row rtt --row rr-32-1 --resume"), 0) << run.printed;
    EXPECT_TRUE(run.complete());
    EXPECT_EQ(json_array_size(json_object_get(run.results.get(), "rows")), 2u);
    EXPECT_EQ(run.start(Bench::fake("dies"), "--row rtt --row rr-32-1 --resume"), 0) << "nothing is left to do";
    EXPECT_NE(run.printed.find("done before"), std::string::npos) << run.printed;
    EXPECT_EQ(run.start(Bench::fake("good"), "--row rtt --resume"), 1) << "other settings";
    EXPECT_NE(run.printed.find("other settings: rows is [\"rtt\",\"rr-32-1\"] there, and [\"rtt\"] here"),
              std::string::npos) << run.printed;
}

TEST(Run, GoesOnWithMoreProgramsThanBefore)
{
    Bench run;

    EXPECT_EQ(run.start(Bench::fake("good"), "--row rr-32-1"), 0) << run.printed;
    EXPECT_EQ(run.start(Bench::fake("good"), "--row rr-32-1 --resume --peer go='" + Bench::fake("good") + "'"), 0)
        << run.printed;
    EXPECT_EQ(run.printed.find("done before"), std::string::npos) << run.printed;
    ASSERT_GT(json_array_size(json_object_get(run.row(), "series")), 1u);
    for (size_t i = 0; i < json_array_size(json_object_get(run.row(), "series")); i++)
        EXPECT_EQ(json_integer_value(json_object_get(run.series(i), "runs")), run.number("runs")) << i;
}

TEST(Run, DoesNotGoOnWithAnotherBuild)
{
    Bench run;

    EXPECT_EQ(run.start(Bench::fake("good"), "--row rr-32-1"), 0) << run.printed;
    EXPECT_EQ(run.start(Bench::fake("newer"), "--row rr-32-1 --resume"), 1) << run.printed;
    EXPECT_NE(run.printed.find("is of ours 1, and this is 2"), std::string::npos) << run.printed;
}

/* Where listeners ran on another machine, the one that is there now must be it. */
TEST(Run, DoesNotResumeOnOtherMachines)
{
    for (const char *part : {"machine", "listeners_machine"}) {
        Bench run;
        std::string file = run.folder + "/results.json";

        EXPECT_EQ(run.start(Bench::fake("good"), "--row rr-32-1"), 0) << run.printed;
        json_object_set_new(run.results.get(), part, json_pack("{s:s}", "cpu", "another"));
        ASSERT_EQ(json_dump_file(run.results.get(), file.c_str(), 0), 0);
        EXPECT_EQ(run.start(Bench::fake("good"), "--row rr-32-1 --resume"), 1);
        EXPECT_NE(run.printed.find(std::string("has other ") + part), std::string::npos) << run.printed;
    }
}

/* Measures beside one that is as good: a target is missed. */
struct Profiled : Bench {
    int measure(const std::string &more = "")
    {
        return start(fake("good"), "--row rr-32-100 --peer go='" + fake("good") + "' " + more);
    }
    json_t *profile() const { return json_array_get(json_object_get(results.get(), "profiles"), 0); }
    double share(const char *side, const char *kind) const
    {
        json_t *shares = json_object_get(json_object_get(profile(), side), "shares");
        return json_number_value(json_object_get(shares, kind));
    }
    std::string missing_profiles() const
    {
        const char *text = json_string_value(json_object_get(results.get(), "profiles_missing"));
        return text != nullptr ? text : "it is not there";
    }
    std::string report() const
    {
        std::ifstream page(folder + "/report.md");
        std::stringstream all;
        all << page.rdbuf();
        return all.str();
    }
};

TEST(Run, ProfilesRowsWhoseTargetsAreMissed)
{
    Profiled run;
    FakePerf perf(run.folder, "", 40);

    EXPECT_EQ(run.measure(), 0) << run.printed;
    EXPECT_EQ(run.missing_profiles(), "");
    for (const char *side : {"dialler", "listener"}) {
        EXPECT_EQ(run.share(side, "network"), 25) << run.printed;
        EXPECT_EQ(run.share(side, "own"), 75);
    }
    EXPECT_NE(run.report().find("profile: rr-32-100, ours"), std::string::npos) << run.report();
    EXPECT_NE(run.report().find("| own code | 75 % | 75 % |"), std::string::npos) << run.report();
    EXPECT_EQ(system(("python3 " BENCH_CHECK_REPORT " page '" + run.folder + "/report.html'").c_str()), 0);
}

TEST(Run, ProfilesNothingWhereAllTargetsAreMet)
{
    Profiled run;
    FakePerf perf(run.folder, "touch '" + run.folder + "/ran'", 40);

    EXPECT_EQ(run.start(Bench::fake("good"), "--row rtt-load"), 0) << run.printed;
    EXPECT_NE(access((run.folder + "/ran").c_str(), F_OK), 0);
    EXPECT_EQ(json_array_size(json_object_get(run.results.get(), "profiles")), 0u);
    EXPECT_EQ(run.report().find("## Profiles"), std::string::npos);
}

TEST(Run, KeepsProfilesWhenItGoesOn)
{
    Profiled run;

    {
        FakePerf perf(run.folder, "", 40);
        EXPECT_EQ(run.measure(), 0) << run.printed;
    }
    FakePerf perf(run.folder, "exit 1", 0);
    EXPECT_EQ(run.measure("--resume"), 0) << run.printed;
    EXPECT_EQ(run.share("dialler", "own"), 75) << run.printed;
    EXPECT_EQ(run.missing_profiles(), "");
}

TEST(Run, SaysWhyPerfTellsNothing)
{
    Profiled forbidden, idle;

    {
        FakePerf perf(forbidden.folder, "echo no permission >&2; exit 1", 0);
        EXPECT_EQ(forbidden.measure(), 0) << forbidden.printed;
    }
    EXPECT_NE(forbidden.missing_profiles().find("no permission"), std::string::npos) << forbidden.missing_profiles();
    EXPECT_NE(forbidden.missing_profiles().find("kernel.perf_event_paranoid"), std::string::npos);
    EXPECT_NE(forbidden.report().find("no permission"), std::string::npos) << forbidden.report();
    EXPECT_TRUE(forbidden.complete());

    FakePerf perf(idle.folder, "", 3);
    EXPECT_EQ(idle.measure(), 0) << idle.printed;
    EXPECT_NE(idle.report().find("only 3 samples"), std::string::npos) << idle.report();
    EXPECT_TRUE(json_is_null(json_object_get(idle.profile(), "dialler")));
}

TEST(Run, ProfilesARowAlone)
{
    Bench run;
    FakePerf perf(run.folder, "", 40);
    std::string command = CHORUS_BENCH " profile rr-32-1 ";

    EXPECT_EQ(system((command + "> '" + run.folder + "/out'").c_str()), 0);
    std::ifstream out(run.folder + "/out");
    std::stringstream all;
    all << out.rdbuf();
    EXPECT_NE(all.str().find("| own code | 75 % | 75 % |"), std::string::npos) << all.str();
    for (const char *wrong : {"", "nothing", "rtt go", "rtt ours ours"})
        EXPECT_EQ(WEXITSTATUS(system((std::string(CHORUS_BENCH " profile ") + wrong + " 2>/dev/null").c_str())), 2);
}

TEST(Run, DoesWithoutPerf)
{
    Profiled run;
    std::string path = getenv("PATH");

    EXPECT_EQ(system(("cd '" + run.folder + "' && mkdir all && IFS=: && for folder in $PATH; do "
                      "ln -s \"$folder\"/* all 2>/dev/null; done; rm -f all/perf").c_str()), 0);
    setenv("PATH", (run.folder + "/all").c_str(), 1);
    EXPECT_EQ(run.measure(), 0) << run.printed;
    setenv("PATH", path.c_str(), 1);
    EXPECT_EQ(system(("python3 " BENCH_CHECK_REPORT " schema " BENCH_README " '" + run.folder + "/results.json'").c_str()),
              0);
    EXPECT_NE(run.printed.find("perf is not installed"), std::string::npos) << run.printed;
    EXPECT_NE(run.report().find("perf is not installed"), std::string::npos) << run.report();
}

/* `run --server` on a port that it chooses. */
class Agent
{
public:
    std::string port;

    Agent()
    {
        output = popen("echo $$; exec " CHORUS_BENCH " run --server=0 --no-peers --ours \"python3 " BENCH_FAKE_SIDE
                       " busy\" 2>&1", "r");
        char line[256];
        if (fgets(line, sizeof(line), output) != nullptr)
            pid = atoi(line);
        if (fgets(line, sizeof(line), output) != nullptr && strstr(line, "port ") != nullptr)
            port = std::to_string(atoi(strstr(line, "port ") + 5));
    }
    ~Agent()
    {
        if (pid > 0)
            kill(pid, SIGTERM);
        pclose(output);
    }

private:
    FILE *output;
    pid_t pid = 0;
};

/* Whether this machine has an IPv6 address at all. */
bool has_ipv6()
{
    struct sockaddr_in6 own = {};
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    own.sin6_family = AF_INET6;
    own.sin6_addr = in6addr_loopback;
    bool bound = fd >= 0 && bind(fd, reinterpret_cast<struct sockaddr *>(&own), sizeof(own)) == 0;
    if (fd >= 0)
        close(fd);
    return bound;
}

class AnotherMachine : public testing::TestWithParam<const char *>
{
};

TEST_P(AnotherMachine, HasTheListeners)
{
    Agent agent;
    Bench run;

    if (GetParam()[0] == '[' && !has_ipv6())
        GTEST_SKIP() << "there is no IPv6 here";
    EXPECT_EQ(run.start(Bench::fake("good"), "--row rr-32-1 --pin --client " + (GetParam() + (":" + agent.port))), 0)
        << run.printed;
    EXPECT_TRUE(run.complete());
    json_t *there = json_object_get(run.results.get(), "listeners_machine");
    EXPECT_TRUE(json_equal(json_object_get(there, "kernel"),
                           json_object_get(json_object_get(run.results.get(), "machine"), "kernel")));
    EXPECT_GT(run.median("listener_cores"), 0);
    EXPECT_GT(run.median("dialler_cpu"), 0);
}

INSTANTIATE_TEST_SUITE_P(Run, AnotherMachine, testing::Values("127.0.0.1", "[::1]"));

/* A connection to an agent, line by line. */
class Line
{
public:
    explicit Line(const Agent &agent)
    {
        const char *reason;
        fd = dial_tcp(("127.0.0.1:" + agent.port).c_str(), nullptr, bench_now_s() + 30, &reason);
        EXPECT_GE(fd, 0) << reason;
    }
    ~Line() { end(); }
    Line(const Line &) = delete;
    Line &operator=(const Line &) = delete;

    void say(const std::string &text) { EXPECT_EQ(write(fd, text.data(), text.size()), ssize_t(text.size())); }
    std::string hear() /* "": it is closed */
    {
        std::string line;
        for (char c; read(fd, &c, 1) == 1;) {
            if (c == '\n')
                return line;
            line += c;
        }
        return "";
    }
    bool open() { return recv(fd, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN; }
    void end()
    {
        if (fd >= 0)
            close(fd);
        fd = -1;
    }

private:
    int fd;
    char byte;
};

TEST(Agent, AnswersThoughOthersAreSilent)
{
    Agent agent;
    Line silent(agent), slow(agent), asking(agent);

    slow.say("mach");
    asking.say("machine\n");
    EXPECT_EQ(asking.hear().substr(0, 1), "{");
    EXPECT_TRUE(silent.open()) << "it still has time";
    slow.say("ine\n");
    EXPECT_EQ(slow.hear().substr(0, 1), "{");
}

TEST(Agent, OneConnectionAsksWhatAProgramUsesAndEndsIt)
{
    Agent agent;
    Line program(agent), usage(agent), second(agent), stranger(agent);

    program.say("start ours -1\n");
    std::string number = program.hear();
    ASSERT_EQ(number.substr(0, 6), "agent ");
    usage.say("usage " + number.substr(6) + "\n?\n");
    EXPECT_NE(usage.hear(), "");
    second.say("usage " + number.substr(6) + "\n?\n");
    EXPECT_EQ(second.hear(), "") << "one is enough";
    stranger.say("usage " + std::to_string(getpid()) + "\n?\n");
    EXPECT_EQ(stranger.hear(), "") << "that is no program of its";
    usage.say("?\n");
    EXPECT_NE(usage.hear(), "");
    usage.end();
    while (!program.hear().empty()) /* its address and all that it said, then its end */
        ;
}

TEST(Agent, ClosesWhatIsNoLine)
{
    Agent agent;
    Line endless(agent), unknown(agent);

    endless.say(std::string(AGENT_LINE_BYTES_MAX, 'x'));
    EXPECT_EQ(endless.hear(), "");
    unknown.say("what?\n");
    EXPECT_EQ(unknown.hear(), "");
}

TEST(Run, SaysThatNobodyServes)
{
    Bench run;
    std::string port;

    {
        Agent gone;
        port = gone.port;
    }
    EXPECT_EQ(run.start(Bench::fake("good"), "--row rr-32-1 --client 127.0.0.1:" + port), 1) << run.printed;
    EXPECT_NE(run.printed.find("nobody serves at 127.0.0.1:" + port), std::string::npos) << run.printed;
}

TEST(Run, SkipsPeersThatTheServerDoesNotKnowOrHasInAnotherVersion)
{
    Agent agent;
    Bench run;

    EXPECT_EQ(run.start(Bench::fake("good"), "--row rr-32-1 --peer py='" + Bench::fake("good") +
                                                 "' --client 127.0.0.1:" + agent.port), 0) << run.printed;
    EXPECT_NE(run.printed.find("skipped: py (listener): the server at 127.0.0.1:" + agent.port +
                               " says: the server has no program of that name"), std::string::npos) << run.printed;

    Bench other;
    EXPECT_EQ(other.start(Bench::fake("newer"), "--row rr-32-1 --client 127.0.0.1:" + agent.port), 1) << other.printed;
    EXPECT_NE(other.printed.find("skipped: ours: version 2 here, 1 there"), std::string::npos) << other.printed;
}

TEST(Run, LimitsAreReferencesAlone)
{
    Bench run;
    std::string command = CHORUS_BENCH " limits --runs 1 --seconds 0.05 --warm 0.01 --repeats 0 --row rr-32-1 --row timers "
                                       "--row rtt-open --out '" + run.folder + "' 2>&1";

    EXPECT_EQ(system((command + " >/dev/null").c_str()), 0);
    run.results.reset(json_load_file((run.folder + "/results.json").c_str(), 0, nullptr), json_decref);
    EXPECT_EQ(json_array_size(json_object_get(run.results.get(), "rows")), 2u) << "timers have none";
    EXPECT_EQ(json_array_size(json_object_get(run.row(0), "series")), 1u) << "the open loop has only raw";
    EXPECT_EQ(json_array_size(json_object_get(run.row(1), "series")), 2u);
    EXPECT_TRUE(json_is_true(json_object_get(run.series(), "reference")));
}

TEST(Run, RefusesWrongUsage)
{
    for (const char *wrong : {"--row nothing", "--runs 0", "--seconds x", "--peer go", "--peer ours=x", "--minutes -1",
                              "--peer go=a --peer go=b", "bulk", "--server=x"}) {
        Bench run;
        EXPECT_EQ(run.start(Bench::fake("good"), wrong), 2) << wrong << "\n" << run.printed;
        EXPECT_FALSE(run.printed.empty());
    }
}

TEST(Run, CommandsRefuseWrongUsage)
{
    for (const char *wrong : {"", "nonsense", "--nonsense", "msg extra", "ping --driver kqueue", "rows extra",
                              "limits extra", "perf --transport=quic --server-address=127.0.0.1:1",
                              "perf --server-address=nowhere"}) {
        std::string command = std::string(CHORUS_BENCH " ") + wrong + " >/dev/null 2>&1";
        EXPECT_EQ(WEXITSTATUS(system(command.c_str())), 2) << wrong;
    }
}

TEST(Run, WritesIntoNothingButAFolder)
{
    Bench run;
    std::string file = run.folder + "/file", made = run.folder + "/made";

    std::ofstream(file) << "precious";
    EXPECT_EQ(run.start(Bench::fake("good"), "--row rr-32-1 --out '" + file + "'"), 1);
    EXPECT_NE(run.printed.find("cannot write into " + file), std::string::npos) << run.printed;
    EXPECT_EQ(run.start(Bench::fake("good"), "--row rr-32-1 --out '" + made + "'"), 0) << run.printed;
    std::string report = CHORUS_BENCH " report '" + made + "/results.json' >/dev/null 2>&1 --out '";
    EXPECT_EQ(WEXITSTATUS(system((report + file + "'").c_str())), 1);
    EXPECT_EQ(WEXITSTATUS(system((report + run.folder + "/new'").c_str())), 0);
    EXPECT_EQ(access((run.folder + "/new/report.md").c_str(), R_OK), 0);
}

TEST(Run, TwoDoNotWriteIntoOneFolder)
{
    Bench run;
    int other = open(run.folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    ASSERT_EQ(flock(other, LOCK_EX), 0);
    EXPECT_EQ(run.start(Bench::fake("good"), "--row rr-32-1"), 1);
    EXPECT_NE(run.printed.find("another run writes into " + run.folder), std::string::npos) << run.printed;
    close(other);
    EXPECT_EQ(run.start(Bench::fake("good"), "--row rr-32-1"), 0) << run.printed;
}

TEST(Run, WhatOursHasNotDoneIsNoPass)
{
    Bench run, peer;
    std::string check = CHORUS_BENCH " check '";

    EXPECT_EQ(run.start(Bench::fake("dies"), "--row rr-32-1"), 3) << run.printed;
    EXPECT_NE(run.printed.find("--resume"), std::string::npos) << run.printed;
    EXPECT_EQ(WEXITSTATUS(system((check + run.folder + "/results.json' >/dev/null").c_str())), 1);
    EXPECT_EQ(peer.start(Bench::fake("good"), "--row rr-32-1 --peer py='" + Bench::fake("dies") + "'"), 3);
    EXPECT_EQ(WEXITSTATUS(system((check + peer.folder + "/results.json' >/dev/null").c_str())), 0);
}

TEST(Run, ReadersRefuseWhatIsNoResults)
{
    EXPECT_EQ(WEXITSTATUS(system(CHORUS_BENCH " check /nowhere 2>/dev/null")), 2);
    EXPECT_EQ(WEXITSTATUS(system(CHORUS_BENCH " compare /nowhere /nowhere 2>/dev/null")), 2);
    EXPECT_EQ(WEXITSTATUS(system(CHORUS_BENCH " compare /nowhere 2>/dev/null")), 2);
    EXPECT_EQ(WEXITSTATUS(system(CHORUS_BENCH " report 2>/dev/null")), 2);
}

TEST(Run, ReadersReadWhatItWrote)
{
    Bench run;
    ASSERT_EQ(run.start(Bench::fake("good"), "--row rr-32-1"), 0);
    std::string file = "'" + run.folder + "/results.json'";

    EXPECT_EQ(WEXITSTATUS(system((CHORUS_BENCH " check " + file + " >/dev/null").c_str())), 0);
    EXPECT_EQ(WEXITSTATUS(system((CHORUS_BENCH " compare " + file + " " + file + " >/dev/null").c_str())), 0);
    EXPECT_EQ(WEXITSTATUS(system((CHORUS_BENCH " report " + file + " --out '" + run.folder + "' >/dev/null").c_str())),
              0);
}

} // namespace
