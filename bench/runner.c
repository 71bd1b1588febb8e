#include "runner.h"

#include "bench.h"
#include "calls.h"
#include "meter.h"
#include "part.h"
#include "profile.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define KEEP_ALIVE_S 29 /* shorter than that, what is idle says nothing of what it costs to stay */

/* The programs of one run.  `workers` are those that were told to load; with
 * fan-out these are the listeners, else the diallers. */
struct cast {
    const struct runner_request *request;
    struct side *listeners[PLAN_PROCESSES_MAX], *diallers[PLAN_PROCESSES_MAX];
    unsigned listener_count, dialler_count;
    struct side_spec listener_spec; /* of a row with `nodes` */
    char listener_command[8192];
    struct meter meter;
    struct calls listener_calls, dialler_calls;
    struct profile profiles[2];     /* of diallers and listeners, from the moment that all have begun */
};

/* One moment: the clocks of both sides, and of the machine. */
struct moment {
    double at_s;
    struct side_usage listeners, diallers;
    double listener_calls, dialler_calls;
    struct meter_reading machine;
};

/* What was measured. */
struct measured {
    struct moment start, begin, end; /* start: before anything was connected */
    json_t *answers[PLAN_PROCESSES_MAX];
    bool begun[PLAN_PROCESSES_MAX];
    unsigned begun_count, ended_count, answer_count;
};

/* ---- The programs ------------------------------------------------------------------ */

static bool start_sides(struct cast *cast, struct side **out, unsigned *count, unsigned wanted,
                        const struct side_spec *spec, const char *role, struct side_text *error)
{
    for (; *count < wanted; (*count)++) {
        out[*count] = side_start(spec, role, error);
        if (out[*count] == NULL)
            return false;
        meter_add(&cast->meter, out[*count]->pid);
    }
    return true;
}

/* Ours take the number of nodes as an option. */
static const struct side_spec *listener_spec(struct cast *cast)
{
    const struct side_spec *spec = cast->request->listener;

    if (cast->request->row->nodes == 0)
        return spec;
    snprintf(cast->listener_command, sizeof(cast->listener_command), "%s --nodes %u", spec->command,
             cast->request->row->nodes);
    cast->listener_spec = *spec;
    cast->listener_spec.command = cast->listener_command;
    return &cast->listener_spec;
}

static bool start_cast(struct cast *cast, struct side_text *error)
{
    const struct runner_request *request = cast->request;

    return start_sides(cast, cast->listeners, &cast->listener_count, plan_listeners(request->row), listener_spec(cast),
                       "listener", error) &&
           start_sides(cast, cast->diallers, &cast->dialler_count, plan_diallers(request->row), request->dialler,
                       "dialler", error);
}

static void stop_cast(struct cast *cast)
{
    for (unsigned i = 0; i < cast->dialler_count; i++)
        side_stop(cast->diallers[i]);
    for (unsigned i = 0; i < cast->listener_count; i++)
        side_stop(cast->listeners[i]);
}

static bool sum_usage(struct side *const *sides, unsigned count, struct side_usage *out, struct side_text *error)
{
    struct side_usage usage;

    *out = (struct side_usage){0, 0, 0, 0};
    for (unsigned i = 0; i < count; i++) {
        if (!side_read_usage(sides[i], &usage, error))
            return false;
        out->cpu_s += usage.cpu_s;
        out->rss_anon_bytes += usage.rss_anon_bytes;
        out->foreign_s = usage.foreign_s; /* of the one machine that all are on */
        out->steal_s = usage.steal_s;
    }
    return true;
}

static bool take_moment(struct cast *cast, struct moment *out, struct side_text *error)
{
    out->at_s = bench_now_s();
    if (!sum_usage(cast->listeners, cast->listener_count, &out->listeners, error) ||
        !sum_usage(cast->diallers, cast->dialler_count, &out->diallers, error))
        return false;
    out->listener_calls = calls_read(&cast->listener_calls);
    out->dialler_calls = calls_read(&cast->dialler_calls);
    meter_read(&cast->meter, &out->machine);
    return true;
}

/* ---- Talking to them --------------------------------------------------------------- */

/* Has perf sample one side. */
static bool sample(struct cast *cast, int index, struct side *const *sides, unsigned count, struct side_text *error)
{
    pid_t pids[PLAN_PROCESSES_MAX];
    struct profile_text why;

    for (unsigned i = 0; i < count; i++)
        pids[i] = sides[i]->pid;
    if (profile_start(&cast->profiles[index], pids, count, NULL, cast->request->profile_s, &why))
        return true;
    snprintf(error->text, sizeof(error->text), "%s", why.text);
    return false;
}

/* All have begun: what follows is measured. */
static bool begin(struct cast *cast, struct measured *out, struct side_text *error)
{
    if (!take_moment(cast, &out->begin, error))
        return false;
    return cast->request->profile_s <= 0 ||
           (sample(cast, 0, cast->diallers, cast->dialler_count, error) &&
            sample(cast, 1, cast->listeners, cast->listener_count, error));
}

static double patience_s(const struct runner_request *request)
{
    return RUNNER_SETUP_S_MAX + fmin(request->row->connections / 50.0, RUNNER_CONNECTING_S_MAX) +
           request->mode->warm_s + plan_seconds(request->row, request->mode) + RUNNER_ANSWER_S_MAX;
}

/* Has dialler number `index` do the row's work, or hold connections for a
 * fan-out. */
static bool tell_dialler(struct cast *cast, unsigned index, bool hold, struct side_text *error)
{
    const struct runner_request *request = cast->request;
    const struct side *listener = cast->listeners[index % cast->listener_count];
    const char *address = request->row->nodes > 0 ? listener->addresses : listener->address;
    char line[SIDE_ADDRESSES_BYTES + 512], keys[256];

    plan_keys(keys, sizeof(keys), request->row, request->mode, index);
    if (hold)
        snprintf(keys, sizeof(keys), "connections=%u warm=0.1 seconds=%g", plan_connections(request->row, index),
                 patience_s(request));
    snprintf(line, sizeof(line), "%u load %s %s %s", index + 1, hold ? "idle" : plan_work_names[request->row->work],
             address, keys);
    return side_tell(cast->diallers[index], line, error);
}

/* A field that must be a number of its kind. */
static bool is_figure(const json_t *answer, const char *name)
{
    const json_t *value = json_object_get(answer, name);

    return json_is_number(value) && isfinite(json_number_value(value)) && json_number_value(value) >= 0;
}

static bool is_measurement(struct side *side, const json_t *line, struct side_text *error)
{
    const char *why = json_string_value(json_object_get(line, "why"));
    double failed = json_number_value(json_object_get(line, "failed"));

    if (!side_accepted(side, line, error))
        return false;
    if (!is_figure(line, "units") || !is_figure(line, "seconds") ||
        json_number_value(json_object_get(line, "seconds")) <= 0) {
        side_blame(side, error, "its answer lacks units or seconds");
        return false;
    }
    if (json_number_value(json_object_get(line, "units")) > 0 || failed == 0)
        return true;
    side_blame(side, error, "no unit was completed, %.0f failed%s%s", failed, why != NULL ? ": " : "",
               why != NULL ? why : "");
    return false;
}

/* One line of a worker: an event or its answer. */
static bool take_line(struct cast *cast, struct side *const *workers, unsigned count, unsigned index, json_t *line,
                      struct measured *out, struct side_text *error)
{
    const char *event = json_string_value(json_object_get(line, "event"));

    if (event != NULL && strcmp(event, "begin") == 0 && !out->begun[index]) {
        out->begun[index] = true;
        return ++out->begun_count < count || begin(cast, out, error);
    }
    if (event != NULL && strcmp(event, "end") == 0 && out->begun[index])
        return out->ended_count++ > 0 || take_moment(cast, &out->end, error);
    if (event != NULL) {
        side_blame(workers[index], error, "event '%.40s' out of turn", event);
        return false;
    }
    if (!is_measurement(workers[index], line, error))
        return false;
    if (out->answers[index] != NULL || out->ended_count == 0) {
        side_blame(workers[index], error, "it answered without a measurement");
        return false;
    }
    out->answers[index] = json_incref(line);
    out->answer_count++;
    return true;
}

/* Until all workers have answered.  The others may only not end: what they say
 * is theirs. */
static bool follow(struct cast *cast, struct side *const *workers, unsigned count, struct measured *out,
                   struct side_text *error)
{
    struct side *all[2 * PLAN_PROCESSES_MAX];
    struct side *const *others = workers == cast->diallers ? cast->listeners : cast->diallers;
    unsigned other_count = workers == cast->diallers ? cast->listener_count : cast->dialler_count;
    double until_s = bench_now_s() + patience_s(cast->request);

    memcpy(all, workers, count * sizeof(*workers));
    memcpy(all + count, others, other_count * sizeof(*others));
    while (out->answer_count < count) {
        json_t *line;
        int index = side_next(all, count + other_count, &line, until_s, error);
        bool taken;

        if (index < 0) {
            if (bench_now_s() >= until_s)
                side_blame(workers[0], error, "no answer within %.0f s", patience_s(cast->request));
            return false;
        }
        taken = (unsigned)index >= count || take_line(cast, workers, count, (unsigned)index, line, out, error);
        json_decref(line);
        if (!taken)
            return false;
    }
    if (out->begun_count == count)
        return true;
    side_blame(workers[0], error, "it answered without having begun");
    return false;
}

/* Waits until all diallers hold their connections. */
static bool wait_held(struct cast *cast, struct side_text *error)
{
    double until_s = bench_now_s() + patience_s(cast->request);

    for (unsigned begun = 0; begun < cast->dialler_count;) {
        json_t *line;
        int index = side_next(cast->diallers, cast->dialler_count, &line, until_s, error);
        const char *event;
        bool refused;

        if (index < 0)
            return false;
        event = json_string_value(json_object_get(line, "event"));
        refused = event == NULL && !side_accepted(cast->diallers[index], line, error);
        begun += event != NULL && strcmp(event, "begin") == 0;
        json_decref(line);
        if (refused)
            return false;
    }
    return true;
}

static bool tell_diallers(struct cast *cast, bool hold, struct side_text *error)
{
    for (unsigned i = 0; i < cast->dialler_count; i++) {
        if (!tell_dialler(cast, i, hold, error))
            return false;
    }
    return true;
}

static bool fan_out(struct cast *cast, struct measured *out, struct side_text *error)
{
    const struct runner_request *request = cast->request;
    char line[512], keys[256];

    plan_keys(keys, sizeof(keys), request->row, request->mode, 0);
    snprintf(line, sizeof(line), "1 load fanout - %s", keys);
    return tell_diallers(cast, true, error) && wait_held(cast, error) && side_tell(cast->listeners[0], line, error) &&
           follow(cast, cast->listeners, cast->listener_count, out, error);
}

/* ---- Figures --------------------------------------------------------------------- */

static double number(const json_t *answer, const char *name)
{
    return json_number_value(json_object_get(answer, name));
}

static void set(struct runner_result *result, const char *name, double value)
{
    if (isfinite(value))
        json_object_set_new(result->figures, name, json_real(value));
}

/* Units per second of all workers together. */
static double rate_of(const struct measured *measured)
{
    double rate = 0;

    for (unsigned i = 0; i < measured->answer_count; i++)
        rate += number(measured->answers[i], "units") / number(measured->answers[i], "seconds");
    return rate;
}

static void set_latencies(struct runner_result *result, const struct measured *measured)
{
    static const char *const fields[] = {"p50Us", "p90Us", "p99Us", "p999Us", "maxUs"};
    static const char *const names[] = {"p50", "p90", "p99", "p999", "max"};

    for (size_t f = 0; f < sizeof(fields) / sizeof(fields[0]); f++) {
        double worst = NAN;

        for (unsigned i = 0; i < measured->answer_count; i++) {
            if (is_figure(measured->answers[i], fields[f]))
                worst = fmax(worst, number(measured->answers[i], fields[f])); /* the slowest process's */
        }
        set(result, names[f], worst);
    }
}

/* Clocks count between the moments that we saw, units between those that the
 * program meant: rates are what can be divided. */
static void set_work(struct runner_result *result, const struct runner_request *request,
                     const struct measured *measured)
{
    const struct moment *begin = &measured->begin, *end = &measured->end;
    double seconds = end->at_s - begin->at_s, rate = rate_of(measured), failed = 0;
    double dialler = (end->diallers.cpu_s - begin->diallers.cpu_s) / seconds;
    double listener = (end->listeners.cpu_s - begin->listeners.cpu_s) / seconds;
    double unit = request->row->work == PLAN_BULK ? 1e9 : 1e6; /* s/GB, us */

    for (unsigned i = 0; i < measured->answer_count; i++)
        failed += number(measured->answers[i], "failed");
    set(result, "failed", failed);
    set(result, "dialler_cores", dialler);
    set(result, "listener_cores", listener);
    set(result, "rate", request->row->work == PLAN_BULK ? rate / 1e6 : rate);
    if (rate > 0) {
        set(result, "dialler_cpu", dialler / rate * unit);
        set(result, "listener_cpu", listener / rate * unit);
        set(result, "cpu", (dialler + listener) / rate * unit);
    }
    set_latencies(result, measured);
}

/* What the diallers took before the first connection, with the nodes where these
 * are not one a connection. */
static double fixed_bytes(const struct measured *measured)
{
    double bytes = 0;

    for (unsigned i = 0; i < measured->answer_count; i++)
        bytes += is_figure(measured->answers[i], "fixedBytes") ? number(measured->answers[i], "fixedBytes") : 0;
    return bytes > 0 ? bytes : measured->start.diallers.rss_anon_bytes;
}

static void set_idle(struct runner_result *result, const struct runner_request *request,
                     const struct measured *measured)
{
    const struct moment *start = &measured->start, *begin = &measured->begin, *end = &measured->end;
    double seconds = end->at_s - begin->at_s, connections = request->row->connections, setup_s = 0;
    double listening = end->listeners.rss_anon_bytes - start->listeners.rss_anon_bytes;
    double dialling = end->diallers.rss_anon_bytes - fixed_bytes(measured);
    bool many = request->row->nodes > 0;
    double kernel = fmax(0, end->machine.slab_bytes - start->machine.slab_bytes);

    set(result, "memory", listening / connections);
    set(result, many ? "memory_far" : "memory_dialler", dialling / connections);
    set(result, "memory_kernel", kernel / connections);
    /* Two ends of a connection take the same; that of a dialler may have a node besides. */
    set(result, "memory_pair", ((many ? listening + dialling : 2 * listening) + kernel) / connections);
    if (many) {
        set(result, "memory_all", (listening + dialling + kernel) / 1e9);
        set(result, "memory_fixed", (start->listeners.rss_anon_bytes + fixed_bytes(measured)) / 1e6 /
                                        (plan_listeners(request->row) + plan_diallers(request->row)));
    }
    if (seconds >= KEEP_ALIVE_S)
        set(result, "cpu_idle", (end->listeners.cpu_s - begin->listeners.cpu_s) / seconds * 100 / (connections / 100));
    if (request->apart && seconds >= KEEP_ALIVE_S) /* nothing but our programs talks over this loopback */
        set(result, "traffic",
            (end->machine.loopback_bytes - begin->machine.loopback_bytes) / seconds / connections);
    for (unsigned i = 0; i < measured->answer_count; i++)
        setup_s = fmax(setup_s, number(measured->answers[i], "setupSeconds"));
    set(result, "setup", setup_s);
    set(result, "setup_cpu", (begin->listeners.cpu_s - start->listeners.cpu_s) / connections * 1e6);
}

static void set_calls(struct runner_result *result, const struct measured *measured)
{
    const struct moment *begin = &measured->begin, *end = &measured->end;
    double units = rate_of(measured) * (end->at_s - begin->at_s);

    if (units <= 0)
        return;
    set(result, "dialler_calls", (end->dialler_calls - begin->dialler_calls) / units);
    set(result, "listener_calls", (end->listener_calls - begin->listener_calls) / units);
}

static void finish(struct cast *cast, const struct measured *measured, struct runner_result *result)
{
    const struct moment *begin = &measured->begin, *end = &measured->end;
    double seconds = end->at_s - begin->at_s;

    /* With two machines, of the one that was disturbed more. */
    result->foreign = fmax(fmax(0, end->machine.foreign_s - begin->machine.foreign_s),
                           end->listeners.foreign_s - begin->listeners.foreign_s) / seconds;
    result->steal = fmax(end->machine.steal_s - begin->machine.steal_s,
                         end->listeners.steal_s - begin->listeners.steal_s) / seconds;
    result->ok = true;
    if (cast->request->count_calls)
        set_calls(result, measured);
    else if (cast->request->row->work == PLAN_IDLE)
        set_idle(result, cast->request, measured);
    else
        set_work(result, cast->request, measured);
}

/* ---- A run ------------------------------------------------------------------------ */

static bool prepare(struct cast *cast, struct measured *measured, struct runner_result *result)
{
    if (!start_cast(cast, &result->error))
        return false;
    assert(cast->listeners[0] != NULL && cast->diallers[0] != NULL);
    if (cast->request->count_calls && (!calls_open(&cast->listener_calls, cast->listeners[0]->pid) ||
                                       !calls_open(&cast->dialler_calls, cast->diallers[0]->pid))) {
        snprintf(result->error.text, sizeof(result->error.text), "system calls cannot be counted");
        return false;
    }
    return take_moment(cast, &measured->start, &result->error);
}

static bool work(struct cast *cast, struct measured *measured, struct runner_result *result)
{
    if (cast->request->row->work == PLAN_FANOUT)
        return fan_out(cast, measured, &result->error);
    return tell_diallers(cast, false, &result->error) &&
           follow(cast, cast->diallers, cast->dialler_count, measured, &result->error);
}

/* Perf is to end before its programs do. */
static void collect_profiles(struct cast *cast, struct runner_result *result)
{
    struct profile_text why;

    for (int i = 0; i < 2; i++) {
        if (cast->profiles[i].perf <= 0)
            continue;
        if (!result->ok) {
            profile_cancel(&cast->profiles[i]);
            continue;
        }
        result->profiles[i] = profile_finish(&cast->profiles[i], &why);
        if (result->profiles[i] == NULL)
            snprintf(result->error.text, sizeof(result->error.text), "%s: %s", i == 0 ? "dialler" : "listener",
                     why.text);
    }
}

void runner_run(const struct runner_request *request, struct runner_result *result)
{
    struct cast cast = {.request = request};
    struct measured measured = {.begun_count = 0};

    *result = (struct runner_result){.figures = json_object()};
    if (request->row->work == PLAN_PART) {
        part_run(request, result);
        return;
    }
    if (prepare(&cast, &measured, result) && work(&cast, &measured, result))
        finish(&cast, &measured, result);
    collect_profiles(&cast, result);
    calls_close(&cast.listener_calls);
    calls_close(&cast.dialler_calls);
    stop_cast(&cast);
    for (unsigned i = 0; i < PLAN_PROCESSES_MAX; i++)
        json_decref(measured.answers[i]);
}

bool runner_is_disturbed(const struct runner_result *result)
{
    return result->foreign > METER_FOREIGN_CORES_MAX || result->steal > METER_STEAL_CORES_MAX;
}

void runner_result_fini(struct runner_result *result)
{
    json_decref(result->figures);
    json_decref(result->profiles[0]);
    json_decref(result->profiles[1]);
}
