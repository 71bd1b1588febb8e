#include "actors/api_runtime.h"

#include "actors/depot.h"
#include "actors/local.h"
#include "actors/text.h"
#include "crypto/crypto.h"
#include "runtime/actor.h"

#include <assert.h>
#include <stdlib.h>
#include <time.h>

int api_runtime_new(struct p2p_runtime **out, struct runtime_config *config, struct p2p_error_text *text)
{
    char why[256] = "";
    int error = crypto_init();

    if (!error)
        error = crypto_self_test();
    if (error) {
        text_set(text, "the ciphers of this machine do not compute what they should; nothing can be sent safely");
        return error;
    }
    struct p2p_runtime *runtime = calloc(1, sizeof(*runtime));
    if (!runtime)
        return P2P_ERR_CALL_NOMEM;
    runtime->depot = depot_new();
    if (!runtime->depot) {
        free(runtime);
        return P2P_ERR_CALL_NOMEM;
    }
    config->local_new = local_new;
    config->local_free = local_free;
    config->error_text = why;
    config->error_text_bytes = sizeof(why);
    error = runtime_new(&runtime->runtime, config);
    if (error == P2P_ERR_NODE_CONFIG) {
        text_set(text, "%s", why);
    } else if (error) {
        text_set(text, "the workers could not be started: %s; check the limits of open files, threads and locked "
                 "memory, or force the other driver with CHORUS_P2P_DRIVER=epoll",
                 why[0] ? why : p2p_error_string(error));
    }
    if (error) {
        depot_free(runtime->depot);
        free(runtime);
        return error;
    }
    *out = runtime;
    return 0;
}

int p2p_runtime_new(struct p2p_runtime **out, unsigned workers, bool threads, enum p2p_driver driver,
                    struct p2p_error_text *text)
{
    struct runtime_config config;

    if (!out || (unsigned)driver > P2P_DRIVER_EPOLL || workers > ACTOR_WORKERS_MAX) {
        text_set(text, "a runtime has at most %d workers, and drivers are AUTO, URING and EPOLL", ACTOR_WORKERS_MAX);
        return P2P_ERR_CALL_INVALID;
    }
    runtime_config_init(&config);
    config.workers = threads ? workers : 1;
    config.threads = threads;
    config.driver = driver == P2P_DRIVER_URING ? DRIVER_URING :
                    driver == P2P_DRIVER_EPOLL ? DRIVER_EPOLL : DRIVER_AUTO;
    return api_runtime_new(out, &config, text);
}

void p2p_runtime_free(struct p2p_runtime *runtime)
{
    if (!runtime)
        return;
    assert(__atomic_load_n(&runtime->nodes, __ATOMIC_ACQUIRE) == 0);
    runtime_free(runtime->runtime);
    depot_free(runtime->depot);
    free(runtime);
}

uint64_t api_runtime_now_ns(struct runtime *runtime)
{
    struct timespec now;

    if (!runtime_threaded(runtime))
        return driver_now_ns(worker_driver(runtime_worker(runtime, 0)));
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void api_runtime_rouse(struct runtime *runtime)
{
    if (!runtime_threaded(runtime))
        driver_wake(worker_driver(runtime_worker(runtime, 0)));
}

uint64_t api_runtime_deadline_ns(struct runtime *runtime, int timeout_ms)
{
    if (timeout_ms < 0)
        return UINT64_MAX;
    return api_runtime_now_ns(runtime) + (uint64_t)timeout_ms * 1000000u;
}

int p2p_runtime_turn(struct p2p_runtime *runtime, int timeout_ms)
{
    if (runtime_threaded(runtime->runtime) || worker_current())
        return P2P_ERR_CALL_THREAD;
    /* A turn without waiting has a deadline of 0: driver_turn(). */
    return runtime_turn(runtime->runtime, timeout_ms ? api_runtime_deadline_ns(runtime->runtime, timeout_ms) : 0);
}

int p2p_runtime_set_spin_us(struct p2p_runtime *runtime, unsigned spin_us)
{
    if (spin_us > WORKER_SPIN_NS_MAX / 1000)
        return P2P_ERR_CALL_INVALID;
    runtime_set_spin(runtime->runtime, spin_us * UINT64_C(1000));
    return 0;
}

unsigned p2p_runtime_spin_us(struct p2p_runtime *runtime)
{
    return (unsigned)(runtime_spin(runtime->runtime) / 1000);
}

int p2p_runtime_fd(struct p2p_runtime *runtime)
{
    return runtime_descriptor(runtime->runtime);
}

const char *p2p_runtime_driver(struct p2p_runtime *runtime)
{
    return runtime_driver_name(runtime->runtime);
}

void p2p_dump_events(int descriptor)
{
    runtime_dump_events(descriptor);
}
