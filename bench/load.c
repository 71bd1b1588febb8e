#include "load.h"

#include "bench.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { TIMED = LOAD_KEY_WARM | LOAD_KEY_SECONDS };

static const struct load_work works[] = {
    {"bulk", LOAD_KEY_CONNECTIONS | LOAD_KEY_STREAMS | LOAD_KEY_DIRECTION | TIMED, 1, false, load_bulk},
    {"handshake", LOAD_KEY_PARALLEL | LOAD_KEY_DISTINCT | TIMED, 32, true, load_handshakes},
    {"rtt", LOAD_KEY_RATE | LOAD_KEY_LOAD | TIMED, 32, true, load_requests},
    {"rr", LOAD_KEY_CONNECTIONS | LOAD_KEY_SIZE | LOAD_KEY_RATE | TIMED, 32, true, load_requests},
    {"streams", LOAD_KEY_INFLIGHT | LOAD_KEY_SIZE | TIMED, 1024, true, load_streams},
    {"idle", LOAD_KEY_CONNECTIONS | LOAD_KEY_NODES | TIMED, 1, false, load_idlers},
    {"storm", LOAD_KEY_CONNECTIONS, 1, true, load_storm},
    {"fanout", LOAD_KEY_CONNECTIONS | LOAD_KEY_SIZE | TIMED, 1024, true, load_fanout},
};

enum { WORKS = sizeof(works) / sizeof(works[0]) };

/* ---- KEY=VALUE -------------------------------------------------------------------- */

static const struct number {
    const char *name;
    unsigned key;
    double least, most;
    bool whole;
} numbers[] = {
    {"connections", LOAD_KEY_CONNECTIONS, 1, LOAD_CONNECTIONS_MAX, true},
    {"streams", LOAD_KEY_STREAMS, 1, LOAD_STREAMS_MAX, true},
    {"nodes", LOAD_KEY_NODES, 1, LOAD_CONNECTIONS_MAX, true},
    {"parallel", LOAD_KEY_PARALLEL, 1, LOAD_CONNECTIONS_MAX, true},
    {"inflight", LOAD_KEY_INFLIGHT, 1, LOAD_STREAMS_MAX, true},
    {"size", LOAD_KEY_SIZE, 1, LOAD_SIZE_BYTES_MAX, true},
    {"load", LOAD_KEY_LOAD, 0, 1, true},
    {"distinct", LOAD_KEY_DISTINCT, 0, 1, true},
    {"rate", LOAD_KEY_RATE, 0, LOAD_RATE_MAX, false},
    {"warm", LOAD_KEY_WARM, 0, LOAD_SECONDS_MAX, false},
    {"seconds", LOAD_KEY_SECONDS, 0, LOAD_SECONDS_MAX, false},
};

static void set_number(struct load_request *request, unsigned key, double value)
{
    switch (key) {
    case LOAD_KEY_CONNECTIONS:
        request->connections = (uint32_t)value;
        break;
    case LOAD_KEY_STREAMS:
        request->streams = (uint32_t)value;
        break;
    case LOAD_KEY_NODES:
        request->nodes = (uint32_t)value;
        break;
    case LOAD_KEY_PARALLEL:
        request->parallel = (uint32_t)value;
        break;
    case LOAD_KEY_INFLIGHT:
        request->inflight = (uint32_t)value;
        break;
    case LOAD_KEY_SIZE:
        request->size = (uint32_t)value;
        break;
    case LOAD_KEY_LOAD:
        request->upload = value != 0;
        break;
    case LOAD_KEY_DISTINCT:
        request->distinct = value != 0;
        break;
    case LOAD_KEY_RATE:
        request->rate = value;
        break;
    case LOAD_KEY_WARM:
        request->warm_s = value;
        break;
    default:
        request->seconds = value;
        break;
    }
}

static bool parse_number(struct load *load, const struct number *number, const char *text)
{
    char *end;
    double value = strtod(text, &end);

    if (*text != '\0' && *end == '\0' && value > number->most)
        return load_fail(load, "cannot: %s goes to %g", number->name, number->most);
    if (*text == '\0' || *end != '\0' || !(value >= number->least) || (number->whole && value != floor(value)) ||
        (number->key == LOAD_KEY_SECONDS && value == 0))
        return load_fail(load, "%s takes %s from %g to %g, not '%s'", number->name,
                         number->whole ? "whole numbers" : "numbers", number->least, number->most, text);
    set_number(&load->request, number->key, value);
    return true;
}

static bool parse_direction(struct load *load, const char *text)
{
    static const char *const names[] = {"up", "down", "both"};

    for (int i = 0; i < 3; i++) {
        if (strcmp(names[i], text) != 0)
            continue;
        load->request.direction = (enum load_direction)(i + 1);
        return true;
    }
    return load_fail(load, "direction is up, down or both, not '%s'", text);
}

static bool parse_pair(struct load *load, const char *word)
{
    const struct load_work *work = load->request.work;
    size_t length = strcspn(word, "=");

    if (word[length] == '\0')
        return load_fail(load, "'%s' is not of the form KEY=VALUE", word);
    if (work->keys & LOAD_KEY_DIRECTION && length == 9 && memcmp(word, "direction", length) == 0)
        return parse_direction(load, word + length + 1);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        const struct number *number = &numbers[i];

        if (work->keys & number->key && strlen(number->name) == length && memcmp(word, number->name, length) == 0)
            return parse_number(load, number, word + length + 1);
    }
    return load_fail(load, "%s takes no '%.*s'", work->name, (int)length, word);
}

static bool parse(struct load *load, char **words)
{
    struct load_request *request = &load->request;

    for (int i = 0; words[0] != NULL && i < WORKS; i++) {
        if (strcmp(works[i].name, words[0]) == 0)
            request->work = &works[i];
    }
    if (request->work == NULL)
        return load_fail(load, "no work '%s'", words[0] != NULL ? words[0] : "");
    if (words[1] == NULL)
        return load_fail(load, "%s needs an address", words[0]);
    if (request->work->run == load_fanout && strcmp(words[1], "-") != 0)
        return load_fail(load, "fanout is for the peers of the listening node: its address is '-', not '%s'", words[1]);
    request->address = words[1];
    request->size = request->work->size;
    for (words += 2; *words != NULL; words++) {
        if (!parse_pair(load, *words))
            return false;
    }
    return true;
}

/* ---- Counting ---------------------------------------------------------------------- */

struct load_lane *load_lane(struct load *load)
{
    static _Thread_local struct load_lane *lane;
    static _Thread_local uint64_t number;

    if (number != load->number) {
        unsigned index = __atomic_fetch_add(&load->lanes_taken, 1, __ATOMIC_RELAXED);

        if (index >= load->lane_count)
            bench_die("more threads than lanes");
        lane = &load->lanes[index];
        number = load->number;
    }
    return lane;
}

void load_units(struct load *load, uint64_t units)
{
    if (load_phase(load) == LOAD_MEASURED)
        load_lane(load)->units += units;
}

void load_unit(struct load *load, uint64_t latency_ns)
{
    struct load_lane *lane;

    if (load_phase(load) != LOAD_MEASURED)
        return;
    lane = load_lane(load);
    lane->units++;
    histogram_add(&lane->latency_ns, latency_ns);
}

void load_unit_failed(struct load *load, int error)
{
    __atomic_store_n(&load->unit_error, error, __ATOMIC_RELAXED);
    if (load_phase(load) == LOAD_MEASURED)
        load_lane(load)->failed++;
}

bool load_fail(struct load *load, const char *format, ...)
{
    va_list arguments;

    if (load->error[0] != '\0')
        return false; /* the first reason is the one to know */
    va_start(arguments, format);
    vsnprintf(load->error, sizeof(load->error), format, arguments);
    va_end(arguments);
    return false;
}

/* ---- The two moments ------------------------------------------------------------------ */

static void tell_moment(const struct load *load, const char *name)
{
    serve_print(json_pack("{s:s, s:s}", "id", load->tag, "event", name));
}

void load_begin(struct load *load)
{
    load->begin_ns = bench_now_ns();
    __atomic_store_n(&load->phase, LOAD_MEASURED, __ATOMIC_RELAXED);
    tell_moment(load, "begin");
}

void load_end(struct load *load)
{
    __atomic_store_n(&load->phase, LOAD_OVER, __ATOMIC_RELAXED);
    load->end_ns = bench_now_ns();
    tell_moment(load, "end");
}

static void pass(struct load *load, double seconds)
{
    uint64_t until_ns = bench_now_ns() + (uint64_t)(seconds * 1e9);

    while (!load->stopped && load->error[0] == '\0' && bench_now_ns() < until_ns)
        load_wait(load, until_ns);
}

void load_measure(struct load *load)
{
    pass(load, load->request.warm_s);
    load_begin(load);
    pass(load, load->request.seconds);
    load_end(load);
}

/* ---- The answer ------------------------------------------------------------------------- */

static void put_latency(json_t *fields, const struct histogram *latency_ns)
{
    static const struct {
        const char *name;
        double part;
    } parts[] = {{"p50Us", 0.5}, {"p90Us", 0.9}, {"p99Us", 0.99}, {"p999Us", 0.999}};

    bool any = latency_ns->count > 0;

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        json_object_set_new(fields, parts[i].name,
                            any ? json_real((double)histogram_percentile(latency_ns, parts[i].part) / 1000)
                                : json_null());
    json_object_set_new(fields, "maxUs", any ? json_real((double)latency_ns->most / 1000) : json_null());
}

static void put_figures(struct load *load, json_t *fields)
{
    struct load_lane *sum = &load->lanes[0];

    for (unsigned i = 1; i < load->lane_count; i++) {
        sum->units += load->lanes[i].units;
        sum->failed += load->lanes[i].failed;
        histogram_merge(&sum->latency_ns, &load->lanes[i].latency_ns);
    }
    json_object_set_new(fields, "units", json_integer((json_int_t)sum->units));
    json_object_set_new(fields, "failed", json_integer((json_int_t)sum->failed));
    json_object_set_new(fields, "seconds", json_real((double)(load->end_ns - load->begin_ns) / 1e9));
    if (load->setup_s > 0)
        json_object_set_new(fields, "setupSeconds", json_real(load->setup_s));
    if (load->fixed_bytes > 0)
        json_object_set_new(fields, "fixedBytes", json_real(load->fixed_bytes));
    if (load->request.work->latency)
        put_latency(fields, &sum->latency_ns);
    if (sum->failed > 0 && load->unit_error != 0)
        json_object_set_new(fields, "why", json_string(p2p_error_string(load->unit_error)));
}

static json_t *answer(struct load *load, bool measured)
{
    json_t *fields = json_pack("{s:s, s:s}", "id", load->tag, "case", "load");

    if (measured)
        put_figures(load, fields);
    if (load->stopped)
        (void)load_fail(load, "the program is ending");
    json_object_set_new(fields, "ok", json_boolean(load->error[0] == '\0'));
    if (load->error[0] != '\0')
        json_object_set_new(fields, "error", json_string(load->error));
    return fields;
}

/* Not compressible, though nobody tries. */
static bool make_payload(struct load *load)
{
    size_t done = 0;

    load->payload = malloc(load->request.size);
    while (load->payload != NULL && done < load->request.size) {
        ssize_t count = getrandom(load->payload + done, load->request.size - done, 0);

        if (count > 0)
            done += (size_t)count;
    }
    return load->payload != NULL || load_fail(load, "no memory for %u bytes", load->request.size);
}

static bool make_lanes(struct load *load)
{
    static uint64_t numbers_given;

    load->number = __atomic_add_fetch(&numbers_given, 1, __ATOMIC_RELAXED);
    load->lane_count = load->serve->workers + 1; /* and the command's thread */
    load->lanes = aligned_alloc(_Alignof(struct load_lane), load->lane_count * sizeof(*load->lanes));
    if (load->lanes == NULL)
        return load_fail(load, "no memory for %u threads", load->lane_count);
    memset(load->lanes, 0, load->lane_count * sizeof(*load->lanes));
    return true;
}

json_t *load_command(const struct serve *serve, const char *tag, char **words)
{
    struct load load = {
        .serve = serve,
        .tag = tag,
        .request = {.connections = 1, .streams = 1, .parallel = 1, .inflight = 1, .direction = LOAD_UP, .warm_s = 1,
                    .seconds = 5},
        .epoll = -1,
        .wake = -1,
    };
    bool ready = parse(&load, words) && make_payload(&load) && make_lanes(&load) && load_open_ears(&load);
    bool measured = ready && load.request.work->run(&load);
    json_t *fields;

    load_close(&load);
    fields = answer(&load, measured);
    free(load.work);
    free(load.upload);
    free(load.lanes);
    free(load.payload);
    return fields;
}
