#ifndef TESTS_HOSTILE_VICTIM_H
#define TESTS_HOSTILE_VICTIM_H

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <sys/types.h>
#include <vector>

/* The processes that are attacked, and the good peer that must still be served. */

enum class Driver { URING, EPOLL };

inline std::string driver_name(Driver driver)
{
    return driver == Driver::URING ? "uring" : "epoll";
}

inline std::string driver_suffix(const testing::TestParamInfo<Driver> &info)
{
    return driver_name(info.param);
}

inline const auto both_drivers = testing::Values(Driver::URING, Driver::EPOLL);

/* A program that was started, with its standard streams. */
class Process
{
public:
    struct Setup {
        std::vector<std::string> environment;  /* "NAME=value", besides ours */
        std::function<void()> in_child;        /* before exec: limits and the like */
        int out = -1, err = -1;                /* descriptors; -1: pipes of ours */
    };

    Process(const std::vector<std::string> &arguments, const Setup &setup);
    explicit Process(const std::vector<std::string> &arguments) : Process(arguments, Setup()) {}
    /* Kills it, if it still runs. */
    ~Process();
    Process(const Process &) = delete;

    pid_t pid() const { return pid_; }
    bool alive();
    /* The exit status, or 256 and the signal; -1 when it does not end. */
    int wait(int patience_ms = 30000);
    /* After SIGSTOP it has stopped. */
    void signal(int number);
    bool write(const std::string &line);
    void close_input();
    /* The next line of its standard output, without the newline; "" when none comes. */
    std::string line(int patience_ms = 30000);
    /* What is left of its standard output; all of it, once it has ended. */
    std::string output();
    /* All of its standard error so far. */
    std::string errors();
    /* Waits until `text` is in it. */
    bool says(const std::string &text, int patience_ms = 30000);

    /* From /proc. */
    size_t descriptors() const;
    int64_t rss_kb() const;
    /* The most since the last call, the whole RSS. */
    int64_t rss_peak_kb() const;

private:
    bool collect(int patience_ms);

    pid_t pid_ = -1;
    int in_ = -1, out_ = -1, err_ = -1, status_ = -1;
    std::string out_bytes_, err_bytes_;
};

/* A directory of one test's own, gone with it. */
class Directory
{
public:
    Directory();
    ~Directory();
    std::string path;
};

/* A running node: the program itself, or victim_node with counters. */
class Victim
{
public:
    static std::unique_ptr<Victim> program(Driver driver, const std::vector<std::string> &arguments = {},
                                           const Process::Setup &setup = Process::Setup());
    /* What one connection may hold, and all together; 0: the default. */
    static std::unique_ptr<Victim> node(Driver driver, uint64_t connection_bytes = 0, uint64_t memory_bytes = 0);
    /* One that all tests share, as long as it lives: whatever one leaves behind,
     * the next will find. */
    static Victim &shared(Driver driver);
    /* Closes the shared ones in order; false when something was left of one. */
    static bool close_shared();

    std::unique_ptr<Directory> home; /* of the program, unless it was given one */
    std::unique_ptr<Process> process;
    std::string address, id;
    uint16_t port = 0;
    bool counts = false; /* it tells its counters */

    /* Of a node of ours; the program tells none. */
    std::map<std::string, int64_t> counters();
    int64_t counter(const std::string &name);
    std::string ask(const std::string &command);
    /* SIGTERM or the end of its input; the exit status. */
    int stop();

private:
    bool begin(const std::vector<std::string> &arguments, Driver driver, Process::Setup setup);
};

/* Remembers what a victim holds; later it must hold no more. */
class Inventory
{
public:
    explicit Inventory(Victim &victim);
    /* Waits until all that was there has gone. */
    void settles(int patience_ms = 15000);

private:
    Victim &victim_;
    bool counts_;
    std::map<std::string, int64_t> before_;
    size_t descriptors_;
};

/* A node of the library in this process: it connects, pings, echoes, leaves. */
void good_peer_is_served(Victim &victim);

#endif
