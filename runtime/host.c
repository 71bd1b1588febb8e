#include "runtime/host.h"

#include <assert.h>
#include <errno.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

void host_init(struct host *host)
{
    *host = (struct host){.descriptor = -1, .timer = -1, .armed_ns = UINT64_MAX};
}

void host_fini(struct host *host)
{
    if (host->descriptor >= 0)
        close(host->descriptor);
    if (host->timer >= 0)
        close(host->timer);
    host_init(host);
}

static void arm(struct host *host, uint64_t due_ns)
{
    struct itimerspec when = {{0, 0}, {0, 0}}; /* never */
    int result;

    if (due_ns != UINT64_MAX) {
        when.it_value.tv_sec = (time_t)(due_ns / 1000000000u);
        when.it_value.tv_nsec = (long)(due_ns % 1000000000u);
    }
    result = timerfd_settime(host->timer, TFD_TIMER_ABSTIME, &when, NULL);
    assert(result == 0);
    host->armed_ns = due_ns;
}

static int watch(int epoll, int descriptor)
{
    struct epoll_event event = {.events = EPOLLIN};

    return epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event) < 0 ? -errno : 0;
}

int host_open(struct host *host, int driver_descriptor)
{
    int epoll, result;

    if (host->descriptor >= 0)
        return host->descriptor;
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0)
        return -errno;
    host->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    result = host->timer < 0 ? -errno : watch(epoll, host->timer);
    if (result == 0)
        result = watch(epoll, driver_descriptor);
    if (result < 0) {
        if (host->timer >= 0)
            close(host->timer);
        host->timer = -1;
        close(epoll);
        return result;
    }
    arm(host, 1); /* long ago */
    /* Release pairs with the acquire of host_due(), for the timer. */
    __atomic_store_n(&host->descriptor, epoll, __ATOMIC_RELEASE);
    return epoll;
}

/* An alarm that comes too early costs a turn, setting one a system call. */
void host_due(struct host *host, uint64_t due_ns, uint64_t now_ns)
{
    if (__atomic_load_n(&host->descriptor, __ATOMIC_ACQUIRE) < 0)
        return;
    if (host->armed_ns <= now_ns || due_ns < host->armed_ns)
        arm(host, due_ns > now_ns ? due_ns : 1);
}
