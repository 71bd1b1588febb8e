#include "actors/api_runtime.h"
#include "actors/stream.h"

#include <time.h>

/* The blocking calls on EVENT streams, in the time of their runtime. */

static int check(const struct p2p_stream *stream)
{
    if (stream->shared == NULL || worker_current() != NULL)
        return P2P_ERR_CALL_THREAD;
    return 0;
}

static uint64_t deadline_of(const struct p2p_stream *stream, int timeout_ms)
{
    return api_runtime_deadline_ns(stream->node->runtime, timeout_ms);
}

static void sleep_until(struct stream_shared *shared, uint64_t deadline_ns)
{
    struct timespec until = {(time_t)(deadline_ns / 1000000000u), (long)(deadline_ns % 1000000000u)};

    if (deadline_ns == UINT64_MAX)
        pthread_cond_wait(&shared->changed, &shared->lock);
    else
        pthread_cond_timedwait(&shared->changed, &shared->lock, &until);
}

enum { TURN_NS_MAX = 100000000 }; /* one turn of a runtime without threads: look again ten times a second */

static bool readable(const struct stream_shared *shared)
{
    return shared->recv.bytes > 0 || shared->error != 0;
}

static bool writable(const struct stream_shared *shared)
{
    return shared->send_bytes < shared->send_max || shared->write_error != 0 || shared->close_write;
}

/* Waits until `there`, or the deadline. */
static int await(struct p2p_stream *stream, bool (*there)(const struct stream_shared *), uint64_t deadline_ns)
{
    struct stream_shared *shared = stream->shared;
    struct runtime *runtime = stream->node->runtime;
    int result = 0;

    pthread_mutex_lock(&shared->lock);
    while (result == 0 && !there(shared)) {
        uint64_t now_ns = api_runtime_now_ns(runtime);

        if (now_ns >= deadline_ns) {
            result = P2P_ERR_CALL_TIMEOUT;
        } else if (runtime_threaded(runtime)) {
            sleep_until(shared, deadline_ns);
        } else {
            uint64_t until_ns = deadline_ns - now_ns > TURN_NS_MAX ? now_ns + TURN_NS_MAX : deadline_ns;

            pthread_mutex_unlock(&shared->lock);
            (void)runtime_turn(runtime, until_ns);
            pthread_mutex_lock(&shared->lock);
        }
    }
    pthread_mutex_unlock(&shared->lock);
    return result;
}

static int64_t read_until(struct p2p_stream *stream, void *out, size_t capacity, uint64_t deadline_ns)
{
    int64_t count = p2p_stream_read(stream, out, capacity);

    while (count == P2P_ERR_CALL_AGAIN) {
        int error = await(stream, readable, deadline_ns);

        if (error != 0)
            return error;
        count = p2p_stream_read(stream, out, capacity);
    }
    return count;
}

int64_t p2p_stream_read_wait(struct p2p_stream *stream, void *out, size_t capacity, int timeout_ms)
{
    int error = check(stream);

    return error != 0 ? error : read_until(stream, out, capacity, deadline_of(stream, timeout_ms));
}

/* What was moved before the error counts: the next call meets the error again. */
static int64_t moved(size_t done, int64_t error)
{
    return done > 0 ? (int64_t)done : error;
}

int64_t p2p_stream_read_full(struct p2p_stream *stream, void *out, size_t length, int timeout_ms)
{
    size_t done = 0;
    int error = check(stream);
    uint64_t deadline_ns;

    if (error != 0)
        return error;
    deadline_ns = deadline_of(stream, timeout_ms);
    while (done < length) {
        int64_t count = read_until(stream, (char *)out + done, length - done, deadline_ns);

        if (count < 0)
            return moved(done, count);
        done += (size_t)count;
    }
    return (int64_t)done;
}

int64_t p2p_stream_write_wait(struct p2p_stream *stream, const void *data, size_t length, int timeout_ms)
{
    size_t done = 0;
    int error = check(stream);
    uint64_t deadline_ns;

    if (error != 0)
        return error;
    deadline_ns = deadline_of(stream, timeout_ms);
    while (done < length) {
        int64_t count = p2p_stream_write(stream, (const char *)data + done, length - done);

        if (count == P2P_ERR_CALL_AGAIN) {
            count = await(stream, writable, deadline_ns);
            if (count == 0)
                continue;
        }
        if (count < 0)
            return moved(done, count);
        done += (size_t)count;
    }
    return (int64_t)done;
}
