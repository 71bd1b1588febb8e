#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <sstream>
#include <string>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

extern "C" {
#include "bench/compare.h"
#include "bench/plots.h"
#include "bench/report.h"
#include "bench/results.h"
#include "bench/targets.h"
}

namespace {

using Results = std::unique_ptr<json_t, void (*)(json_t *)>;

Results make()
{
    return {results_new(json_pack("{s:b, s:i, s:f, s:f, s:b}", "quick", 0, "runs", 3, "seconds", 1.0, "warm", 0.5,
                                  "pin", 0),
                        json_pack("{s:i, s:s}", "cpus", 2, "kernel", "6.1")),
            [](json_t *json) { json_decref(json); }};
}

/* One run of `program` with itself. */
void add(const Results &results, const char *row, const char *program, const char *figure, double value,
         double foreign = 0)
{
    plan_series series = {};
    runner_result run = {};

    snprintf(series.dialler, sizeof(series.dialler), "%s", program);
    snprintf(series.listener, sizeof(series.listener), "%s", program);
    run.ok = true;
    run.foreign = foreign;
    run.figures = json_pack("{s:f}", figure, value);
    results_add(results_series(results_row(results.get(), plan_find(row)), &series), plan_find(row), &run);
    runner_result_fini(&run);
}

void add_all(const Results &results, const char *row, const char *program, const char *figure,
             const std::vector<double> &values)
{
    for (double value : values)
        add(results, row, program, figure, value);
}

void fail(const Results &results, const char *row, const char *program, const char *why)
{
    plan_series series = {};
    runner_result run = {};

    snprintf(series.dialler, sizeof(series.dialler), "%s", program);
    snprintf(series.listener, sizeof(series.listener), "%s", program);
    snprintf(run.error.text, sizeof(run.error.text), "%s", why);
    results_add(results_series(results_row(results.get(), plan_find(row)), &series), plan_find(row), &run);
}

void add_side(const Results &results, const char *name, const char *implementation)
{
    json_t *about = json_pack("{s:s}", "implementation", implementation);

    results_add_side(results.get(), name, "a command", about);
    json_decref(about);
}

struct Folder {
    std::string path;

    Folder()
    {
        char name[] = "/tmp/chorus-bench-test.XXXXXX";
        path = mkdtemp(name);
    }
    ~Folder()
    {
        std::filesystem::remove_all(path);
    }
    std::string file(const char *name) const { return path + "/" + name; }
    std::string read(const char *name) const
    {
        std::ifstream in(file(name));
        std::stringstream text;
        text << in.rdbuf();
        return text.str();
    }
    void write(const char *name, const std::string &text) const { std::ofstream(file(name)) << text; }
};

std::string printed(const std::function<void(FILE *)> &print)
{
    char *text = nullptr;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);

    print(file);
    fclose(file);
    std::string copy(text, size);
    free(text);
    return copy;
}

/* What check_report.py says of a page or picture; "" when all is well. */
std::string faults(const std::string &path)
{
    std::string said;
    char text[512];
    FILE *output = popen(("python3 " BENCH_CHECK_REPORT " page '" + path + "' 2>&1").c_str(), "r");

    while (fgets(text, sizeof(text), output) != nullptr)
        said += text;
    return pclose(output) == 0 ? said : said + "it failed";
}

TEST(Results, KeepSamplesAndTheirMedian)
{
    Results results = make();
    add_all(results, "rr-32-100", "ours", "rate", {300, 100, 200});

    EXPECT_EQ(results_median(results.get(), "rr-32-100", "ours", "ours", "rate"), 200);
    EXPECT_TRUE(std::isnan(results_median(results.get(), "rr-32-100", "go", "go", "rate")));
    EXPECT_TRUE(std::isnan(results_median(results.get(), "bulk-up", "ours", "ours", "rate")));
}

TEST(Results, ComeBackFromTheirFile)
{
    Folder folder;
    Results results = make();
    results_text error;

    add_all(results, "rr-32-100", "ours", "rate", {1.0 / 3, 2.0 / 3, 3.3});
    results_skip(results.get(), "js", "not built");
    ASSERT_TRUE(results_save(results.get(), folder.file("results.json").c_str(), &error)) << error.text;
    Results again(results_load(folder.file("results.json").c_str(), &error), [](json_t *json) { json_decref(json); });
    ASSERT_NE(again, nullptr) << error.text;
    EXPECT_NEAR(results_median(again.get(), "rr-32-100", "ours", "ours", "rate"), 2.0 / 3, 1e-6);
    EXPECT_EQ(json_array_size(json_object_get(again.get(), "skipped")), 1u);
}

TEST(Results, AreNotWrittenIntoAFolderThatIsNotThere)
{
    Results results = make();
    results_text error;

    EXPECT_FALSE(results_save(results.get(), "/nowhere/results.json", &error));
    EXPECT_NE(std::string(error.text).find("/nowhere/results.json"), std::string::npos);
}

TEST(Results, ThatCannotBeWrittenLeaveNothingBehind)
{
    Folder folder;
    Results results = make();
    results_text error;
    std::string taken = folder.file("results.json"), fresh = taken + ".new";

    ASSERT_EQ(mkdir(taken.c_str(), 0700), 0);
    EXPECT_FALSE(results_save(results.get(), taken.c_str(), &error));
    EXPECT_NE(access(fresh.c_str(), F_OK), 0) << "half a file, or none that counts";
    ASSERT_EQ(rmdir(taken.c_str()), 0);
}

TEST(Results, OfAnotherFormAreRefusedByPlace)
{
    struct {
        const char *path, *text, *says;
    } const cases[] = {
        {"results.json", "{", "line 1"},
        {"results.json", "[]", "schema"},
        {"results.json", R"({"schema":"chorus-bench/2"})", "chorus-bench/1"},
        {"results.json", R"({"schema":"chorus-bench/1","settings":{},"machine":{},"sides":{},"skipped":[],
            "complete":true})", "rows"},
        {"results.json", R"({"schema":"chorus-bench/1","settings":{},"machine":{},"sides":{},"skipped":[],
            "complete":true,"rows":[{"row":"a","work":"rr","series":[{"dialler":"x","listener":"y","errors":[],
            "disturbed":[],"figures":{"rate":{"unit":"","better":"more","samples":["a"],"median":1}}}]}]})",
         "row a, series 0, rate: sample 0"},
        {"results.json", R"({"schema":"chorus-bench/1","settings":{},"machine":{},"sides":{},"skipped":[],
            "complete":true,"rows":[{"row":"a","work":"rr","series":[{"dialler":"x","listener":"y","errors":[],
            "disturbed":[],"figures":{"rate":{"unit":"","better":"more","samples":[1,2,3],"median":1}}}]}]})",
         "median"},
        {"results.json", R"({"schema":"chorus-bench/1","settings":{},"machine":{},"sides":{"a`id`":{}},"skipped":[],
            "complete":true,"rows":[]})", "sides: 'a`id`' is no name"},
        {"results.json", R"({"schema":"chorus-bench/1","settings":{},"machine":{},"sides":{},"skipped":[],
            "complete":true,"rows":[{"row":"a","work":"rr","series":[{"dialler":"x","listener":"a\"b","errors":[],
            "disturbed":[],"figures":{}}]}]})", "row a, series 0: dialler and listener"},
        {"missing.json", nullptr, "missing.json"},
    };

    for (const auto &one : cases) {
        Folder folder;
        results_text error = {};
        if (one.text != nullptr)
            folder.write(one.path, one.text);
        EXPECT_EQ(results_load(folder.file(one.path).c_str(), &error), nullptr) << one.text;
        EXPECT_NE(std::string(error.text).find(one.says), std::string::npos) << error.text;
    }
}

TEST(Results, MarkWhatWasDisturbed)
{
    Results results = make();
    add(results, "rtt", "ours", "p50", 10, 0.05);
    add(results, "rtt", "ours", "p50", 11, 0.5);

    const json_t *series = results_find_series(results_find_row(results.get(), "rtt"), "ours", "ours");
    EXPECT_FALSE(json_is_true(json_array_get(json_object_get(series, "disturbed"), 0)));
    EXPECT_TRUE(json_is_true(json_array_get(json_object_get(series, "disturbed"), 1)));
}

TEST(Results, NumbersReadWell)
{
    struct {
        double value;
        const char *text;
    } const cases[] = {{0, "0"}, {1234567, "1,234,567"}, {999.6, "1,000"}, {-1500, "-1,500"}, {99.96, "100"},
                       {12.34, "12.3"}, {1.2345, "1.23"}, {0.041, "0.041"}, {NAN, "–"}};
    char text[32];

    for (const auto &one : cases) {
        results_print(text, sizeof(text), one.value);
        EXPECT_STREQ(text, one.text);
    }
}

/* ---- Targets ------------------------------------------------------------------- */

const json_t *target(const Results &results, const char *text)
{
    size_t index;
    json_t *one;
    json_array_foreach (json_object_get(results.get(), "targets"), index, one) {
        if (strcmp(results_string(one, "target"), text) == 0)
            return one;
    }
    return nullptr;
}

TEST(Targets, AreRatiosOfWhatWasMeasured)
{
    Results results = make();
    add(results, "bulk-up", "ours", "rate", 1500);
    add(results, "bulk-up", "go", "rate", 500);
    add(results, "idle-10000", "ours", "memory", 2048);
    targets_evaluate(results.get());

    const json_t *against_go = target(results, "bulk, one stream, against go");
    ASSERT_NE(against_go, nullptr);
    EXPECT_EQ(results_number(against_go, "ratio"), 3);
    EXPECT_TRUE(json_is_true(json_object_get(against_go, "met")));
    const json_t *memory = target(results, "user memory of an idle connection, of 1,024 B");
    ASSERT_NE(memory, nullptr);
    EXPECT_FALSE(json_is_true(json_object_get(memory, "met")));
    EXPECT_STRNE(results_string(memory, "bound"), "");
    EXPECT_EQ(target(results, "bulk, one stream, against rust"), nullptr) << "rust was not measured";
}

/* What others took of the machine says nothing of what bounds ours. */
TEST(Targets, MissedByDisturbedRunsAreToBeMeasuredAgain)
{
    for (double foreign : {0.0, 0.5}) {
        Results results = make();

        add(results, "bulk-up", "ours", "rate", 500, foreign);
        add(results, "bulk-up", "go", "rate", 500);
        targets_evaluate(results.get());
        std::string bound = results_string(target(results, "bulk, one stream, against go"), "bound");
        EXPECT_EQ(bound.find("measure again") != std::string::npos, foreign > 0) << bound;
        EXPECT_EQ(bound.find("one stream is") != std::string::npos, foreign == 0) << bound;
    }
}

/* The crypto of a connect is another when the listener has seen the peer before. */
TEST(Targets, ConnectsOfKnownAndOfNewPeersAreJudgedApart)
{
    Results results = make();

    for (const char *row : {"handshake-50", "handshake-50-distinct"}) {
        add(results, row, "ours", "listener_cpu", strcmp(row, "handshake-50") == 0 ? 150 : 300);
        add(results, row, "crypto", "cpu", 100);
        EXPECT_TRUE(plan_find(row)->pairs & PLAN_CRYPTO) << row;
    }
    targets_evaluate(results.get());
    const json_t *known = target(results, "listener's CPU of a connect of a known peer, of the crypto alone");
    const json_t *fresh = target(results, "listener's CPU of a connect of a new peer, of the crypto alone");
    ASSERT_TRUE(known != nullptr && fresh != nullptr);
    EXPECT_EQ(results_number(known, "ratio"), 1.5);
    EXPECT_EQ(results_number(fresh, "ratio"), 3);
}

TEST(Targets, HoldWithinAFactorAndNameThoseThatDoNot)
{
    Results results = make();
    targets_text error;

    add(results, "bulk-up", "ours", "rate", 600);
    add(results, "bulk-up", "go", "rate", 500);
    add(results, "msg", "ours", "message, same worker", 30000);
    targets_evaluate(results.get());
    EXPECT_TRUE(targets_hold(results.get(), 2, &error)) << error.text;
    EXPECT_FALSE(targets_hold(results.get(), 1.5, &error));
    EXPECT_NE(std::string(error.text).find("bulk, one stream, against go"), std::string::npos) << error.text;
    EXPECT_EQ(std::string(error.text).find("message"), std::string::npos) << error.text;
}

/* A collapse is one of what is usual: what is always missed by a factor of two is none. */
TEST(Targets, ThatAreAlwaysMissedCollapseLater)
{
    for (double rate : {1000.0, 500.0}) {
        Results results = make();
        targets_text error;

        add(results, "bulk-up", "ours", "rate", rate);
        add(results, "bulk-up", "js", "rate", 500);
        targets_evaluate(results.get());
        const json_t *js = target(results, "bulk, one stream, against js");
        EXPECT_FALSE(json_is_true(json_object_get(js, "met")));
        EXPECT_LT(results_number(js, "usual"), results_number(js, "wanted"));
        EXPECT_EQ(targets_hold(results.get(), 2, &error), rate == 1000.0) << error.text;
    }
}

TEST(Targets, EpollIsJudgedByTheRowWhereItCostsMost)
{
    const char *all_met = "epoll, of io_uring: the worst of 2 figures (rr-open, p50)";
    Results results = make();

    for (const char *program : {"ours", "ours-epoll"}) {
        bool epoll = program[4] != '\0';
        add(results, "bulk-up", program, "rate", epoll ? 950 : 1000);
        add(results, "rr-open", program, "rate", epoll ? 1 : 5000); /* given, not measured */
        add(results, "rr-open", program, "p50", epoll ? 24 : 20);
        add(results, "idle-1000", program, "memory", 1024);
    }
    targets_evaluate(results.get());
    ASSERT_NE(target(results, all_met), nullptr);
    EXPECT_TRUE(json_is_true(json_object_get(target(results, all_met), "met")));

    add(results, "streams-1", "ours", "rate", 1000);
    add(results, "streams-1", "ours-epoll", "rate", 700);
    targets_evaluate(results.get());
    const json_t *missed = target(results, "epoll, of io_uring: the worst of 3 figures (streams-1, rate)");
    ASSERT_NE(missed, nullptr);
    EXPECT_FALSE(json_is_true(json_object_get(missed, "met")));
    EXPECT_NE(std::string(results_string(missed, "bound")).find("1 below: streams-1 rate 0.70"), std::string::npos);
}

/* ---- Comparing ------------------------------------------------------------------ */

compare_outcome outcome(const Results &a, const Results &b, bool relative = false, std::string *text = nullptr,
                        const char *program = nullptr)
{
    const compare_options options = {0.05, relative, program};
    compare_outcome found = {};
    std::string out = printed([&](FILE *file) { found = compare_print(file, a.get(), b.get(), &options); });
    if (text != nullptr)
        *text = out;
    return found;
}

unsigned compare(const Results &a, const Results &b, bool relative = false, std::string *text = nullptr)
{
    return outcome(a, b, relative, text).worse;
}

TEST(Compare, FindsWhatIsWorseAndIsSureOfIt)
{
    Results a = make(), b = make();
    std::string text;

    add_all(a, "rr-32-100", "ours", "rate", {100, 101, 102, 103, 104});
    add_all(b, "rr-32-100", "ours", "rate", {80, 81, 82, 83, 84});
    add_all(a, "rtt", "ours", "p50", {50, 51, 52});
    add_all(b, "rtt", "ours", "p50", {60, 61, 62});
    add_all(a, "bulk-up", "ours", "rate", {100, 101, 102});
    add_all(b, "bulk-up", "ours", "rate", {200, 201, 202});
    EXPECT_EQ(compare(a, b, false, &text), 2u) << text;
    EXPECT_NE(text.find("better"), std::string::npos) << text;
    EXPECT_EQ(compare(b, a), 1u);
    EXPECT_EQ(compare(a, a), 0u);
}

TEST(Compare, DoesNotCallNoiseWorse)
{
    Results a = make(), b = make();

    add_all(a, "rr-32-100", "ours", "rate", {60, 100, 140, 80, 120});
    add_all(b, "rr-32-100", "ours", "rate", {50, 90, 130, 70, 110});
    EXPECT_EQ(compare(a, b), 0u);
}

TEST(Compare, OfTwoMachinesComparesRatiosToTheReference)
{
    Results a = make(), b = make();

    add_all(a, "rr-32-100", "ours", "rate", {80, 80, 80});
    add_all(a, "rr-32-100", "raw-aead", "rate", {100, 100, 100});
    add_all(b, "rr-32-100", "ours", "rate", {40, 40, 40}); /* half as fast, as is all of that machine */
    add_all(b, "rr-32-100", "raw-aead", "rate", {50, 50, 50});
    EXPECT_GT(compare(a, b), 0u);
    EXPECT_EQ(compare(a, b, true), 0u);
}

TEST(Compare, OfTwoMachinesIsAsUnsureAsTheirReferences)
{
    Results a = make(), b = make();

    add_all(a, "rr-32-100", "ours", "p999", {100, 101, 102});
    add_all(a, "rr-32-100", "raw-aead", "p999", {50, 100, 200});
    add_all(b, "rr-32-100", "ours", "p999", {100, 101, 102});
    add_all(b, "rr-32-100", "raw-aead", "p999", {40, 50, 120}); /* twice as good, if it is not chance */
    EXPECT_EQ(compare(a, b, true), 0u);
    add_all(b, "rtt", "ours", "p50", {30, 30, 30});
    add_all(a, "rtt", "ours", "p50", {10, 10, 10});
    EXPECT_EQ(outcome(a, b, true).compared, 1u) << "without a reference, and the reference itself, are left out";
}

TEST(Compare, APairThatFailedIsNoPass)
{
    Results a = make(), b = make();
    std::string text;

    add_all(a, "rr-32-100", "ours", "rate", {100, 101, 102});
    fail(b, "rr-32-100", "ours", "ours (dialler): it ended (signal 11)");
    compare_outcome found = outcome(a, b, false, &text);
    EXPECT_EQ(found.failed, 1u) << text;
    EXPECT_EQ(found.compared, 0u) << text;
    EXPECT_NE(text.find("FAILED in the second: ours (dialler): it ended (signal 11)"), std::string::npos) << text;
    EXPECT_EQ(outcome(b, a).failed, 0u) << "it works now";
}

TEST(Compare, UnitsThatFailWhereNoneDidAreWorse)
{
    Results a = make(), b = make(), c = make();

    add_all(a, "rr-32-100", "ours", "failed", {0, 0, 0});
    add_all(b, "rr-32-100", "ours", "failed", {7, 9, 8});
    add_all(c, "rr-32-100", "ours", "failed", {0, 0, 0});
    EXPECT_EQ(compare(a, b), 1u);
    EXPECT_EQ(compare(b, a), 0u);
    EXPECT_EQ(compare(a, c), 0u);
}

TEST(Compare, OfOneProgramLeavesTheOthersOut)
{
    Results a = make(), b = make();
    std::string text;

    add_all(a, "rr-32-100", "ours", "rate", {100, 101, 102});
    add_all(b, "rr-32-100", "ours", "rate", {100, 101, 102});
    add_all(a, "rr-32-100", "go", "rate", {100, 101, 102});
    add_all(b, "rr-32-100", "go", "rate", {50, 51, 52});
    add(a, "rtt", "go", "p50", 1);
    add(a, "rtt", "ours", "p50", 1);
    EXPECT_EQ(outcome(a, b).worse, 1u);
    compare_outcome ours = outcome(a, b, false, &text, "ours");
    EXPECT_EQ(ours.worse, 0u) << text;
    EXPECT_EQ(ours.compared, 1u) << text;
    EXPECT_EQ(text.find("go "), std::string::npos) << text;
    EXPECT_NE(text.find("only in the first"), std::string::npos) << text;
}

TEST(Compare, ASingleRunHasNoInterval)
{
    Results a = make(), b = make(), c = make();
    std::string text;

    add(a, "idle-1000", "ours", "memory", 1000);
    add(b, "idle-1000", "ours", "memory", 1200);
    add(c, "idle-1000", "ours", "memory", 1300);
    EXPECT_EQ(compare(a, b, false, &text), 0u) << text;
    EXPECT_NE(text.find("(one run)"), std::string::npos) << text;
    EXPECT_EQ(compare(a, c), 1u);
}

TEST(Compare, SaysWhatOnlyOneHas)
{
    Results a = make(), b = make();
    std::string text;

    add(a, "rtt", "ours", "p50", 1);
    add(b, "rtt", "ours", "p50", 1);
    add(b, "rtt", "go", "p50", 1);
    add(b, "bulk-up", "ours", "rate", 1);
    add(a, "streams-1", "ours", "rate", 1);
    EXPECT_EQ(compare(a, b, false, &text), 0u);
    for (const char *line : {"bulk-up", "go", "streams-1"})
        EXPECT_NE(text.find(line), std::string::npos) << text;
    EXPECT_NE(text.find("only in the first"), std::string::npos) << text;
    EXPECT_NE(text.find("only in the second"), std::string::npos) << text;
}

/* ---- The report ------------------------------------------------------------------- */

TEST(Report, TellsFiguresAndWhatIsMissing)
{
    Folder folder;
    Results results = make();

    add_all(results, "rr-32-100", "ours", "rate", {100000, 120000, 110000});
    fail(results, "rr-32-100", "go", "go (listener): it ended | (signal 9)");
    results_skip(results.get(), "js", "not built");
    ASSERT_TRUE(report_write(results.get(), folder.path.c_str()));
    std::string text = folder.read("report.md");
    for (const char *part : {"partial", "110,000 (100,000–120,000)", "js was skipped: not built",
                             "go (listener): it ended \\| (signal 9)"})
        EXPECT_NE(text.find(part), std::string::npos) << part << " in\n" << text;
    json_object_set_new(results.get(), "complete", json_true());
    ASSERT_TRUE(report_write(results.get(), folder.path.c_str()));
    EXPECT_EQ(folder.read("report.md").find("partial"), std::string::npos);
}

TEST(Report, IsOneFileOfHtmlThatEscapesWhatProgramsSay)
{
    Folder folder;
    Results results = make();

    add_all(results, "rr-32-100", "ours", "rate", {100000, 120000, 110000});
    add_all(results, "rr-32-100", "go", "rate", {50000, 52000, 55000});
    fail(results, "rr-32-100", "js", "<script>alert(1)</script>");
    add_side(results, "ours", "a & b");
    add_side(results, "go", "go-libp2p");
    ASSERT_TRUE(report_write(results.get(), folder.path.c_str()));
    std::string text = folder.read("report.html");
    for (const char *part : {"<!doctype html>", "partial", "110,000 (100,000–120,000)", "&lt;script&gt;", "a &amp; b",
                             "2.1× go"})
        EXPECT_NE(text.find(part), std::string::npos) << part << " in\n" << text;
    EXPECT_EQ(text.find("<script"), std::string::npos);
    EXPECT_EQ(faults(folder.file("report.html")), "");
}

TEST(Report, TellsOfDisturbedRunsAndMissedTargetsFirst)
{
    Folder folder;
    Results results = make();

    add(results, "bulk-up", "ours", "rate", 1000, 0.5);
    add(results, "bulk-up", "go", "rate", 400);
    add(results, "bulk-up", "rust", "rate", 600);
    targets_evaluate(results.get());
    ASSERT_TRUE(report_write(results.get(), folder.path.c_str()));
    for (const char *name : {"report.md", "report.html"}) {
        std::string text = folder.read(name);
        for (const char *part : {"1 of 3 runs were disturbed", "1 of 2 targets are met, "}) {
            EXPECT_NE(text.find(part), std::string::npos) << part << " in\n" << text;
            EXPECT_LT(text.find(part), text.find("bulk, one stream up"));
        }
    }
}

TEST(Report, GroupsWhatIsMissing)
{
    Folder folder;
    Results results = make();
    json_t *missing = json_array();

    add(results, "bulk-up", "ours", "rate", 1000);
    add(results, "bulk-up", "go", "rate", 400);
    for (const char *row : {"bulk-up", "rr-32-1"})
        for (const char *program : {"ours", "go", "rust"})
            json_array_append_new(missing, json_pack("{s:s, s:s, s:s, s:s}", "row", row, "dialler", program,
                                                     "listener", program, "reason", "out of time"));
    json_object_set_new(results.get(), "missing", missing);
    ASSERT_TRUE(report_write(results.get(), folder.path.c_str()));
    std::string text = folder.read("report.md");
    EXPECT_NE(text.find("* bulk-up: rust → rust: out of time\n"), std::string::npos) << text;
    EXPECT_NE(text.find("* rr-32-1: ours → ours, go → go, rust → rust: out of time\n"), std::string::npos) << text;
    EXPECT_NE(text.find("* 2 pairs have fewer runs than were asked for"), std::string::npos) << text;
}

TEST(Report, FiguresOfFewerRunsAreMarkedAndNoHeadline)
{
    Folder folder;
    Results results = make();

    for (const char *program : {"ours", "go"})
        add_side(results, program, program);
    add(results, "streams-32", "ours", "rate", 4321);
    add(results, "streams-32", "go", "rate", 9.35);
    add(results, "msg", "ours", "message, same worker", 30);
    for (const char *row : {"streams-32", "msg"}) {
        const char *program = strcmp(row, "msg") == 0 ? "ours" : "go";
        json_object_set_new(results.get(), "missing", json_pack("[{s:s, s:s, s:s, s:s}]", "row", row, "dialler", program,
                                                                "listener", program, "reason", "out of time"));
        targets_evaluate(results.get());
        ASSERT_TRUE(report_write(results.get(), folder.path.c_str()));
        std::string text = folder.read("report.md"), page = folder.read("report.html");
        bool others = strcmp(row, "streams-32") == 0;
        EXPECT_EQ(text.find("* go → go: partial: it has no more runs than 1") != std::string::npos, others) << text;
        EXPECT_EQ(text.find("new streams, 32 at a time, against go: partial") != std::string::npos, others) << text;
        EXPECT_EQ(text.find("figure (partial") == std::string::npos, others) << text;
        EXPECT_EQ(page.find("<li>462× go</li>") == std::string::npos, others) << page;
        EXPECT_NE(page.find("4,321"), std::string::npos) << "that has all its runs";
    }
}

/* Names of programs are checked; what these say of themselves is theirs. */
TEST(Report, WhatProgramsSayIsText)
{
    Folder folder;
    Results results = make();
    const char *evil = "<script>alert('1')</script>\x01\"|&amp;";

    add_side(results, "ours", evil);
    add_all(results, "rr-32-100", "ours", "rate", {1, 2, 3});
    fail(results, "rr-32-100", "go", evil);
    results_skip(results.get(), "js", evil);
    json_object_set_new(results.get(), "profiles_missing", json_string(evil));
    json_object_set_new(results.get(), "listeners_machine", json_pack("{s:s, s:s}", "cpu", evil, "kernel", evil));
    json_object_set_new(results_row(results.get(), plan_find("rr-32-100")), "title", json_string(evil));
    ASSERT_TRUE(report_write(results.get(), folder.path.c_str()));
    for (const char *name : {"report.html", "report.md"})
        EXPECT_EQ(folder.read(name).find("<script"), std::string::npos) << folder.read(name);
    EXPECT_EQ(folder.read("report.html").find('\x01'), std::string::npos);
    EXPECT_NE(folder.read("report.html").find("&lt;script&gt;alert(&#39;1&#39;)"), std::string::npos);
    EXPECT_EQ(faults(folder.file("report.html")), "");
}

TEST(Report, CardsSayHowMuchBetterOrWorse)
{
    Folder folder;
    Results results = make();

    for (const char *program : {"ours", "go", "rust", "rawlibp2p", "ours-2w"})
        add_side(results, program, program);
    add(results, "streams-32", "ours", "rate", 10);
    add(results, "streams-32", "go", "rate", 500);
    add(results, "streams-32", "rust", "rate", 20);
    add(results, "streams-32", "rawlibp2p", "rate", 5);
    add(results, "streams-32", "ours-2w", "rate", 5);
    ASSERT_TRUE(report_write(results.get(), folder.path.c_str()));
    std::string text = folder.read("report.html");
    for (const char *part : {"<li>0.02× go</li>", "<li>0.5× rust</li>", "<li>2.0× rawlibp2p</li>"})
        EXPECT_NE(text.find(part), std::string::npos) << part << " in\n" << text;
    EXPECT_EQ(text.find("× ours-2w"), std::string::npos) << "that is no other program";
}

/* ---- Pictures --------------------------------------------------------------------- */

/* All figures of all rows, of programs with names of all kinds. */
Results make_everything()
{
    Results results = make();

    for (const char *program : {"ours", "go", "rust", "js", "nim_2.0", "raw", "raw-aead", "crypto"}) {
        const plan_row *rows;
        size_t count = plan_rows(&rows);
        double value = 1000.0 + 7 * static_cast<double>(program[0]);
        add_side(results, program, program);
        for (size_t i = 0; i < count; i++) {
            for (const char *figure : {"rate", "cpu", "dialler_cpu", "listener_cpu", "p50", "p90", "p99", "p999",
                                       "memory", "cpu_idle"})
                add_all(results, rows[i].name, program, figure, {value, value * 1.5, value * 0.2});
        }
    }
    return results;
}

TEST(Plots, AreXmlThatStandsAlone)
{
    Folder folder;
    Results results = make_everything();
    const plots_plot *plots;
    size_t count = plots_all(&plots);

    if (!plots_available())
        GTEST_SKIP() << "gnuplot is not installed";
    ASSERT_TRUE(report_write_plots(results.get(), folder.path.c_str(), nullptr, 0));
    for (size_t i = 0; i < count; i++) {
        std::string name = std::string(plots[i].name) + ".svg", text = folder.read(name.c_str());
        EXPECT_EQ(text.rfind("<svg", 0), 0u) << name;
        EXPECT_NE(text.find("<title>" + std::string(plots[i].title) + "</title>"), std::string::npos) << name;
        EXPECT_NE(text.find("nim_2.0"), std::string::npos) << name;
        EXPECT_EQ(faults(folder.file(name.c_str())), "");
    }
    ASSERT_TRUE(report_write(results.get(), folder.path.c_str()));
    std::string page = folder.read("report.html");
    size_t drawn = 0;
    for (size_t at = page.find("<svg"); at != std::string::npos; at = page.find("<svg", at + 1))
        drawn++;
    EXPECT_EQ(drawn, count);
    EXPECT_EQ(faults(folder.file("report.html")), "");
}

TEST(Plots, BarsAreCutRatherThanDrawnByDecades)
{
    Folder folder;
    Results results = make();
    const char *name = "request-cpu";

    if (!plots_available())
        GTEST_SKIP() << "gnuplot is not installed";
    for (const char *program : {"ours", "go", "js"})
        add_side(results, program, program);
    for (const char *row : {"rr-32-100", "rr-1k-100"}) {
        add(results, row, "ours", "cpu", 10);
        add(results, row, "go", "cpu", 30);
        add(results, row, "js", "cpu", 4321);
    }
    ASSERT_TRUE(report_write_plots(results.get(), folder.path.c_str(), &name, 1));
    std::string text = folder.read("request-cpu.svg");
    EXPECT_NE(text.find("↑4,321"), std::string::npos) << "how far the bar goes\n" << text;
    EXPECT_NE(text.find(">0<"), std::string::npos) << "bars begin at 0\n" << text;
    EXPECT_EQ(text.find(">1000<"), std::string::npos) << "the axis ends with the others\n" << text;
}

/* Names of that kind are refused with the file that has them; pictures need not
 * trust that. */
TEST(Plots, RunNothingThatANameHolds)
{
    Folder folder;
    Results results = make();
    const char *bulk = "bulk", *name = "`touch ran`\"'@b";
    std::filesystem::path before = std::filesystem::current_path();

    if (!plots_available())
        GTEST_SKIP() << "gnuplot is not installed";
    add(results, "bulk-up", "ours", "rate", 1000);
    add(results, "bulk-up", name, "rate", 900);
    add_side(results, name, "b");
    std::filesystem::current_path(folder.path);
    EXPECT_TRUE(report_write_plots(results.get(), folder.path.c_str(), &bulk, 1));
    std::filesystem::current_path(before);
    EXPECT_FALSE(std::filesystem::exists(folder.file("ran")));
    EXPECT_NE(folder.read("bulk.svg").find("`touch ran`"), std::string::npos) << "it is shown as it is";
    EXPECT_EQ(faults(folder.file("bulk.svg")), "");
}

TEST(Plots, OneThatIsWantedMustHaveSomethingToShow)
{
    Folder folder;
    Results results = make();
    const char *bulk = "bulk", *memory = "memory";

    if (!plots_available())
        GTEST_SKIP() << "gnuplot is not installed";
    add(results, "bulk-up", "ours", "rate", 1000);
    EXPECT_TRUE(report_write_plots(results.get(), folder.path.c_str(), &bulk, 1));
    EXPECT_FALSE(report_write_plots(results.get(), folder.path.c_str(), &memory, 1));
    EXPECT_NE(folder.read("bulk.svg"), "");
    EXPECT_EQ(folder.read("memory.svg"), "");
}

TEST(Plots, ThePageDoesWithoutGnuplotAndSaysSo)
{
    Folder folder;
    Results results = make();
    std::string path = getenv("PATH");

    add(results, "bulk-up", "ours", "rate", 1000);
    setenv("PATH", folder.path.c_str(), 1);
    bool written = report_write(results.get(), folder.path.c_str());
    setenv("PATH", path.c_str(), 1);
    EXPECT_TRUE(written);
    EXPECT_NE(folder.read("report.html").find("gnuplot is not installed"), std::string::npos);
    EXPECT_EQ(faults(folder.file("report.html")), "");
}

TEST(Plots, TheCheckFindsWhatComesFromElsewhere)
{
    Folder folder;

    for (const char *bad : {"<img src=\"http://a/b\">", "<p><b></p></b>", "<svg><rect></svg>",
                            "<p id=a></p><p id=a></p>", "<style>p{background:url(http://a)}</style>", "<svg><use href=\"#nothing\"/></svg>"}) {
        folder.write("report.html", bad);
        EXPECT_NE(faults(folder.file("report.html")), "") << bad;
    }
}

} // namespace
