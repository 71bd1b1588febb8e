#include "tests/hostile/victim.h"

#include "chorus/p2p.h"
#include "tests/hostile/attacker.h"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <poll.h>
#include <sstream>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* ---- Process ---- */

static std::vector<char *> pointers(const std::vector<std::string> &texts)
{
    std::vector<char *> out;
    for (const std::string &text : texts)
        out.push_back(const_cast<char *>(text.c_str()));
    out.push_back(nullptr);
    return out;
}

Process::Process(const std::vector<std::string> &arguments, const Setup &setup)
{
    int in[2], out[2] = {-1, setup.out}, err[2] = {-1, setup.err};
    std::vector<std::string> environment = setup.environment;

    for (char **entry = environ; *entry != nullptr; entry++)
        environment.push_back(*entry);
    std::vector<char *> argv = pointers(arguments), envp = pointers(environment);
    if (pipe2(in, O_CLOEXEC) != 0 || (setup.out < 0 && pipe2(out, O_CLOEXEC) != 0) ||
        (setup.err < 0 && pipe2(err, O_CLOEXEC) != 0))
        abort();
    pid_ = fork();
    if (pid_ == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        dup2(err[1], STDERR_FILENO);
        if (setup.in_child)
            setup.in_child();
        execve(argv[0], argv.data(), envp.data());
        _exit(127);
    }
    ::close(in[0]);
    if (setup.out < 0)
        ::close(out[1]);
    if (setup.err < 0)
        ::close(err[1]);
    in_ = in[1];
    out_ = out[0];
    err_ = err[0];
    for (int descriptor : {out_, err_}) {
        if (descriptor >= 0)
            fcntl(descriptor, F_SETFL, O_NONBLOCK);
    }
}

Process::~Process()
{
    if (alive()) {
        kill(pid_, SIGKILL);
        waitpid(pid_, &status_, 0);
    }
    close_input();
    if (out_ >= 0)
        ::close(out_);
    if (err_ >= 0)
        ::close(err_);
}

bool Process::alive()
{
    if (pid_ > 0 && waitpid(pid_, &status_, WNOHANG) == pid_)
        pid_ = -1;
    return pid_ > 0;
}

int Process::wait(int patience_ms)
{
    int64_t deadline_ms = now_ms() + patience_ms;

    while (alive() && now_ms() < deadline_ms)
        collect(1); /* a full pipe would hold it up */
    if (pid_ > 0)
        return -1;
    collect(0);
    return WIFEXITED(status_) ? WEXITSTATUS(status_) : 256 + WTERMSIG(status_);
}

void Process::signal(int number)
{
    if (!alive())
        return;
    kill(pid_, number);
    /* Its threads stop one after the other, each when it has its turn. */
    if (number == SIGSTOP && waitpid(pid_, &status_, WUNTRACED) == pid_ && !WIFSTOPPED(status_))
        pid_ = -1;
}

/* A program that has ended is a test that fails, and not the end of all of them.  SIGPIPE is not ignored for good: the
 * programs would inherit that. */
bool Process::write(const std::string &text)
{
    const struct timespec at_once = {};
    sigset_t pipe, before;

    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, &before);
    bool written = in_ >= 0 && ::write(in_, text.data(), text.size()) == static_cast<ssize_t>(text.size());
    sigtimedwait(&pipe, nullptr, &at_once);
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return written;
}

void Process::close_input()
{
    if (in_ >= 0)
        ::close(in_);
    in_ = -1;
}

/* Takes what is there; false at the end. */
static bool drain(int descriptor, std::string &into)
{
    char buffer[65536];
    ssize_t count = 1;

    while (descriptor >= 0 && (count = ::read(descriptor, buffer, sizeof(buffer))) > 0)
        into.append(buffer, static_cast<size_t>(count));
    return count != 0;
}

/* Waits for output of either kind, and keeps it; false when the standard one has ended. */
bool Process::collect(int patience_ms)
{
    struct pollfd fds[] = {{out_, POLLIN, 0}, {err_, POLLIN, 0}};

    poll(fds, 2, patience_ms);
    drain(err_, err_bytes_);
    return drain(out_, out_bytes_);
}

std::string Process::line(int patience_ms)
{
    int64_t deadline_ms = now_ms() + patience_ms;
    bool open = true;

    while (out_bytes_.find('\n') == std::string::npos && open && now_ms() < deadline_ms)
        open = collect(static_cast<int>(deadline_ms - now_ms()));
    size_t end = out_bytes_.find('\n');
    if (end == std::string::npos)
        return "";
    std::string out = out_bytes_.substr(0, end);
    out_bytes_.erase(0, end + 1);
    return out;
}

std::string Process::output()
{
    std::string out;

    drain(out_, out_bytes_);
    out.swap(out_bytes_);
    return out;
}

std::string Process::errors()
{
    drain(err_, err_bytes_);
    return err_bytes_;
}

bool Process::says(const std::string &text, int patience_ms)
{
    int64_t deadline_ms = now_ms() + patience_ms;

    while (errors().find(text) == std::string::npos) {
        struct pollfd poll_of = {err_, POLLIN, 0};
        if (now_ms() > deadline_ms)
            return false;
        poll(&poll_of, 1, static_cast<int>(deadline_ms - now_ms()));
        if (poll_of.revents & POLLHUP && !drain(err_, err_bytes_))
            return err_bytes_.find(text) != std::string::npos;
    }
    return true;
}

size_t Process::descriptors() const
{
    size_t count = 0;
    DIR *folder = opendir(("/proc/" + std::to_string(pid_) + "/fd").c_str());

    while (folder != nullptr && readdir(folder) != nullptr)
        count++;
    if (folder != nullptr)
        closedir(folder);
    return count;
}

static int64_t status_kb(pid_t pid, const std::string &name)
{
    std::ifstream status("/proc/" + std::to_string(pid) + "/status");
    std::string word;

    while (status >> word) {
        int64_t value;
        if (word == name + ":" && status >> value)
            return value;
    }
    return -1;
}

int64_t Process::rss_kb() const
{
    return status_kb(pid_, "VmRSS");
}

int64_t Process::rss_peak_kb() const
{
    int64_t peak = status_kb(pid_, "VmHWM");

    std::ofstream("/proc/" + std::to_string(pid_) + "/clear_refs") << "5";
    return peak;
}

/* ---- Victim ---- */

bool Victim::begin(const std::vector<std::string> &arguments, Driver driver, Process::Setup setup)
{
    setup.environment.push_back("CHORUS_P2P_DRIVER=" + driver_name(driver));
    process = std::make_unique<Process>(arguments, setup);
    address = process->line();
    size_t tcp = address.find("/tcp/"), p2p = address.find("/p2p/");
    if (tcp == std::string::npos || p2p == std::string::npos || process->line() != "ready")
        return false;
    port = static_cast<uint16_t>(std::stoi(address.substr(tcp + 5)));
    id = address.substr(p2p + 5);
    return true;
}

std::unique_ptr<Victim> Victim::program(Driver driver, const std::vector<std::string> &arguments,
                                        const Process::Setup &setup)
{
    auto victim = std::make_unique<Victim>();
    std::vector<std::string> all = {CHORUS_P2P_PROGRAM, "run", "--echo", "--perf"};

    all.insert(all.end(), arguments.begin(), arguments.end());
    if (std::find(all.begin(), all.end(), "--listen") == all.end())
        all.insert(all.end(), {"--listen", "/ip4/127.0.0.1/tcp/0"});
    if (std::find(all.begin(), all.end(), "--data-dir") == all.end()) {
        victim->home = std::make_unique<Directory>();
        all.insert(all.end(), {"--data-dir", victim->home->path});
    }
    if (!victim->begin(all, driver, setup)) {
        ADD_FAILURE() << "the program does not start: " << victim->process->errors();
        return nullptr;
    }
    return victim;
}

std::unique_ptr<Victim> Victim::node(Driver driver, uint64_t connection_bytes, uint64_t memory_bytes)
{
    auto victim = std::make_unique<Victim>();

    if (!victim->begin({CHORUS_VICTIM_NODE, std::to_string(connection_bytes), std::to_string(memory_bytes)}, driver, {})) {
        ADD_FAILURE() << "the node does not start: " << victim->process->errors();
        return nullptr;
    }
    victim->counts = true;
    return victim;
}

static std::map<Driver, std::unique_ptr<Victim>> shared_victims;

Victim &Victim::shared(Driver driver)
{
    std::unique_ptr<Victim> &victim = shared_victims[driver];

    if (victim != nullptr && !victim->process->alive())
        victim.reset();
    if (victim == nullptr)
        victim = node(driver);
    if (victim == nullptr)
        abort();
    return *victim;
}

bool Victim::close_shared()
{
    bool fine = true;

    for (auto &[driver, victim] : shared_victims) {
        int status = victim != nullptr ? victim->stop() : 0;
        if (status != 0) {
            fine = false;
            fprintf(stderr, "%s: exit status %d\n%s\n", driver_name(driver).c_str(), status,
                    victim->process->errors().c_str());
        }
    }
    shared_victims.clear();
    return fine;
}

std::string Victim::ask(const std::string &command)
{
    return process->write(command + "\n") ? process->line() : "";
}

std::map<std::string, int64_t> Victim::counters()
{
    std::map<std::string, int64_t> out;
    std::istringstream words(counts ? ask("counters") : "");

    for (std::string word; words >> word;) {
        size_t equals = word.find('=');
        out[word.substr(0, equals)] = std::stoll(word.substr(equals + 1));
    }
    return out;
}

int64_t Victim::counter(const std::string &name)
{
    return counters()[name];
}

int Victim::stop()
{
    process->close_input();
    process->signal(SIGTERM);
    return process->wait();
}

/* ---- Inventory ---- */

/* Gauges of what lives; the rest counts upwards. */
static const char *const gauges[] = {"sessions", "streams", "stream_bytes_held", "memory_held", "memory_left",
                                     "connections", "handshakes_in", "peers", "actors"};

Inventory::Inventory(Victim &victim) : victim_(victim)
{
    before_ = victim.counters();
    counts_ = victim.counts;
    descriptors_ = victim.process->descriptors();
}

void Inventory::settles(int patience_ms)
{
    int64_t deadline_ms = now_ms() + patience_ms;
    std::string difference;

    do {
        std::map<std::string, int64_t> after = counts_ ? victim_.counters() : std::map<std::string, int64_t>();
        difference.clear();
        for (const char *gauge : gauges) {
            if (counts_ && (after.empty() || after[gauge] > before_[gauge]))
                difference += std::string(gauge) + " " + std::to_string(before_[gauge]) + " -> " +
                              std::to_string(after[gauge]) + "  ";
        }
        size_t descriptors = victim_.process->descriptors();
        if (descriptors > descriptors_)
            difference += "descriptors " + std::to_string(descriptors_) + " -> " + std::to_string(descriptors);
        if (!victim_.process->alive())
            difference = "it died: " + victim_.process->errors();
        if (!difference.empty())
            poll(nullptr, 0, 2); /* it cannot tell us: look again */
    } while (!difference.empty() && victim_.process->alive() && now_ms() < deadline_ms);
    EXPECT_EQ(difference, "") << "left behind";
}

/* ---- The good peer ---- */

namespace {

struct GoodPeer {
    struct p2p_node *node = nullptr;

    GoodPeer()
    {
        struct p2p_config *config = p2p_config_new();
        struct p2p_error_text text = {};
        p2p_config_listen(config, nullptr, nullptr);
        p2p_config_workers(config, 1);
        p2p_config_max_connections(config, 0);
        if (p2p_node_new(&node, config, nullptr, &text) != 0 || p2p_node_start(node, &text) != 0) {
            fprintf(stderr, "%s\n", text.text);
            abort();
        }
        p2p_config_free(config);
    }
    ~GoodPeer() { p2p_node_free(node); }
};

} // namespace

static void echo(struct p2p_node *node, const std::string &id)
{
    const char *protocol = "/echo/1.0.0";
    struct p2p_stream *stream = nullptr;
    struct p2p_error_text text = {};
    std::string sent = noise_bytes(100000), back(sent.size(), '\0');

    ASSERT_EQ(p2p_stream_open(node, &stream, id.c_str(), &protocol, 1, PATIENCE_MS, &text), 0) << text.text;
    EXPECT_EQ(p2p_stream_write_wait(stream, sent.data(), sent.size(), PATIENCE_MS), int64_t(sent.size()));
    EXPECT_EQ(p2p_stream_read_full(stream, back.data(), back.size(), PATIENCE_MS), int64_t(back.size()));
    EXPECT_TRUE(sent == back);
    p2p_stream_close(stream);
}

void good_peer_is_served(Victim &victim)
{
    static GoodPeer good;
    char id[P2P_ID_TEXT_BYTES];
    struct p2p_error_text text = {};
    struct p2p_event event;
    uint64_t rtt_ns = 0;

    ASSERT_EQ(p2p_node_connect(good.node, id, victim.address.c_str(), PATIENCE_MS, &text), 0)
        << text.text << "\n" << victim.process->errors();
    EXPECT_EQ(id, victim.id);
    EXPECT_EQ(p2p_node_ping(good.node, &rtt_ns, id, PATIENCE_MS), 0);
    echo(good.node, id);
    EXPECT_EQ(p2p_node_disconnect(good.node, id), 0);
    do {
        ASSERT_EQ(p2p_node_wait_event(good.node, &event, PATIENCE_MS), 0);
    } while (event.type != P2P_EVENT_PEER_DISCONNECTED);
}

/* ---- Directory ---- */

Directory::Directory()
{
    const char *base = getenv("TMPDIR");
    path = std::string(base != nullptr ? base : "/tmp") + "/chorus-hostile-XXXXXX";
    if (mkdtemp(path.data()) == nullptr)
        abort();
}

Directory::~Directory()
{
    std::error_code error;
    std::filesystem::remove_all(path, error);
}

/* ---- The end of all tests ---- */

namespace {

struct Shared : testing::Environment {
    void TearDown() override { EXPECT_TRUE(Victim::close_shared()); }
};

[[maybe_unused]] const auto *shared = testing::AddGlobalTestEnvironment(new Shared);

} // namespace
