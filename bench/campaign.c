#include "campaign.h"

#include "agent.h"
#include "bench.h"
#include "calls.h"
#include "profile.h"
#include "profiles.h"
#include "programs.h"
#include "progress.h"
#include "results.h"
#include "runner.h"
#include "targets.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FITS 0.9 /* of what is needed is enough: the estimate is no better */

struct campaign {
    const struct campaign_options *options;
    bool apart;
    struct side_spec specs[CAMPAIGN_SPECS_MAX];
    size_t spec_count;
    const char *peers[PLAN_PEERS_MAX]; /* that can be started */
    size_t peer_count;
    json_t *results;
    json_t *missing;                   /* borrowed from the results */
    json_t *sides_before;              /* of the results that this run goes on with, or NULL */
    double begin_s, deadline_s;
    double planned_s, done_s;          /* runs without repeats: of all rows, and so far */
    double repeats_s;                  /* what repeats took */
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
    interrupted = 1;
    signal(number, SIG_DFL); /* a second one ends at once */
}

/* ---- The programs ------------------------------------------------------------------ */

static const struct side_spec *find_spec(const struct campaign *campaign, const char *name)
{
    for (size_t i = 0; i < campaign->spec_count; i++) {
        if (strcmp(campaign->specs[i].name, name) == 0)
            return &campaign->specs[i];
    }
    return NULL;
}

/* Where listeners are on another machine, that one must have the program, too, and
 * the same. */
static bool is_there(const struct campaign *campaign, const struct side_spec *spec, const json_t *about,
                     struct side_text *error)
{
    struct side_spec other = *spec;
    const char *version = results_string(about, "version");
    json_t *answer;
    bool same;

    other.agent = campaign->options->agent;
    if (other.agent == NULL)
        return true;
    answer = side_about(&other, error);
    if (answer == NULL)
        return false;
    same = strcmp(results_string(answer, "version"), version) == 0;
    if (!same)
        snprintf(error->text, sizeof(error->text), "%s: version %.40s here, %.40s there", spec->name, version,
                 results_string(answer, "version"));
    json_decref(answer);
    return same;
}

/* Compiled while it runs. */
static bool is_slow(const struct side_spec *spec)
{
    return spec != NULL && spec->warm_s > 0;
}

/* Both sides work for as long as either needs to get up to speed. */
static struct plan_mode mode_of(const struct campaign *campaign, const struct plan_series *series)
{
    const struct side_spec *sides[] = {find_spec(campaign, series->dialler), find_spec(campaign, series->listener)};
    struct plan_mode mode = campaign->options->mode;

    for (int i = 0; i < 2; i++) {
        if (sides[i] == NULL)
            continue;
        mode.warm_s = fmax(mode.warm_s, sides[i]->warm_s);
        mode.start_s += sides[i]->start_s;
        if (is_slow(sides[i]))
            mode.connects_s = PLAN_SLOW_CONNECTS_S;
    }
    return mode;
}

static double series_s(const struct campaign *campaign, const struct plan_row *row, const struct plan_series *series)
{
    struct plan_mode mode = mode_of(campaign, series);

    return plan_run_s(row, &mode);
}

/* Whether a run may be begun.  How long programs took to start the first time is
 * no promise; one that is late by that much is late by little. */
static bool is_time_for(const struct campaign *campaign, const struct plan_row *row, const struct plan_series *series)
{
    struct plan_mode mode = mode_of(campaign, series);

    mode.start_s = 0;
    return plan_run_s(row, &mode) < campaign->deadline_s - bench_now_s();
}

/* All runs of a row. */
static double row_s(const struct campaign *campaign, const struct plan_row *row, const struct plan_series *series,
                    size_t count)
{
    double sum_s = 0;

    for (size_t i = 0; i < count; i++)
        sum_s += series_s(campaign, row, &series[i]) * plan_runs(row, &campaign->options->mode);
    return sum_s;
}

/* Asks the program what it is; only one that answers takes part. */
static bool add_spec(struct campaign *campaign, const char *name, const char *command)
{
    struct side_spec *spec = &campaign->specs[campaign->spec_count];
    double begin_s = bench_now_s();
    struct side_text error;
    json_t *about;

    *spec = (struct side_spec){.name = name, .command = command, .cpu = -1, .warm_s = 0};
    about = side_about(spec, &error);
    spec->start_s = bench_now_s() - begin_s;
    if (about == NULL || !is_there(campaign, spec, about, &error)) {
        json_decref(about);
        progress_line("skipped: %s", error.text);
        results_skip(campaign->results, name, error.text);
        return false;
    }
    results_add_side(campaign->results, name, command, about);
    spec->warm_s = fmin(json_number_value(json_object_get(about, "warm")), CAMPAIGN_WARM_S_MAX);
    json_decref(about);
    campaign->spec_count++;
    return true;
}

/* Asks one of our own; one that does not answer is skipped, and named. */
static void add_own(struct campaign *campaign, const char *name)
{
    const json_t *ours = json_object_get(json_object_get(campaign->results, "sides"), "ours");
    unsigned spin_us = (unsigned)json_integer_value(json_object_get(ours, "spinUs"));

    (void)add_spec(campaign, name, programs_command(name, spin_us < BENCH_SPIN_US_MAX ? spin_us : BENCH_SPIN_US_MAX));
}

static void add_references(struct campaign *campaign)
{
    add_own(campaign, "raw");
    add_own(campaign, "raw-aead");
    if (!campaign->options->mode.quick)
        add_own(campaign, "raw-sleep");
    add_own(campaign, "crypto");
}

static bool add_specs(struct campaign *campaign)
{
    const struct campaign_options *options = campaign->options;

    if (!add_spec(campaign, "ours", options->ours != NULL ? options->ours : programs_command("ours", 0)))
        return false;
    for (size_t i = 0; i < options->peer_count && !options->only_references; i++) {
        if (add_spec(campaign, options->peers[i].name, options->peers[i].command))
            campaign->peers[campaign->peer_count++] = options->peers[i].name;
    }
    if (options->ours == NULL && !options->mode.quick && !options->only_references) {
        add_own(campaign, "ours-epoll");
        add_own(campaign, "ours-2w");
        add_own(campaign, "ours-sleep");
    }
    if (!options->no_references)
        add_references(campaign);
    return true;
}

/* ---- One row ------------------------------------------------------------------------- */

static double left_s(const struct campaign *campaign)
{
    return campaign->deadline_s - bench_now_s();
}

/* How much longer it takes than was planned, without repeats. */
static double slowness(const struct campaign *campaign)
{
    double spent_s = bench_now_s() - campaign->begin_s - campaign->repeats_s;

    return campaign->done_s > 0 ? fmax(1, spent_s / campaign->done_s) : 1;
}

/* Whether a run may be done again and the rest will still fit. */
static bool affordable(const struct campaign *campaign, double run_s)
{
    return (campaign->planned_s - campaign->done_s + run_s) * slowness(campaign) < left_s(campaign);
}

/* Where not all runs will fit, by more than can be known beforehand, each row has
 * fewer: that says more than none of the last ones. */
static unsigned affordable_runs(const struct campaign *campaign, const struct plan_row *row)
{
    unsigned runs = plan_runs(row, &campaign->options->mode);
    double needed_s = (campaign->planned_s - campaign->done_s) * slowness(campaign);
    double part = needed_s > 0 ? left_s(campaign) / needed_s : 1;

    if (part >= FITS)
        return runs;
    return part * runs > 1 ? (unsigned)(part * runs) : 1;
}

/* One run, again while it is disturbed, as often as there is leave and time; the
 * least disturbed counts. */
static void run_undisturbed(struct campaign *campaign, const struct runner_request *request,
                            struct runner_result *result)
{
    double run_s = plan_run_s(request->row, request->mode);

    runner_run(request, result);
    for (unsigned i = 0; i < campaign->options->repeats && result->ok && runner_is_disturbed(result); i++) {
        struct runner_result again;
        double begin_s = bench_now_s();

        if (interrupted || !affordable(campaign, run_s))
            return;
        runner_run(request, &again);
        campaign->repeats_s += bench_now_s() - begin_s;
        again.repeats = result->repeats = i + 1;
        if (again.ok && again.foreign + again.steal < result->foreign + result->steal) {
            struct runner_result worse = *result;

            *result = again;
            again = worse;
        }
        runner_result_fini(&again);
    }
}

static struct side_spec placed(const struct campaign *campaign, const char *name, bool listens)
{
    const struct side_spec *spec = find_spec(campaign, name);
    struct side_spec out = spec != NULL ? *spec : (struct side_spec){.name = NULL};

    if (campaign->options->pin)
        out.cpu = listens ? 1 : 0;
    if (listens)
        out.agent = campaign->options->agent;
    return out;
}

static void run_series(struct campaign *campaign, const struct plan_row *row, const struct plan_series *series,
                       json_t *out, bool count_calls)
{
    struct side_spec dialler = placed(campaign, series->dialler, false);
    struct side_spec listener = placed(campaign, series->listener, true);
    struct plan_mode mode = mode_of(campaign, series);
    struct runner_request request = {.row = row, .mode = &mode, .dialler = &dialler, .listener = &listener,
                                     .apart = campaign->apart, .count_calls = count_calls};
    struct runner_result result;

    progress_running(campaign->done_s / campaign->planned_s, row, series);
    if (count_calls)
        runner_run(&request, &result);
    else
        run_undisturbed(campaign, &request, &result);
    if (!result.ok)
        progress_line("%s, %s -> %s: %s", row->name, series->dialler, series->listener, result.error.text);
    if (!count_calls)
        results_add(out, row, &result);
    else if (result.ok)
        results_add_figures(out, row, &result);
    runner_result_fini(&result);
}

static bool is_done(const json_t *series, unsigned runs)
{
    return json_integer_value(json_object_get(series, "runs")) >= runs;
}

static bool is_hopeless(const json_t *series)
{
    return json_array_size(json_object_get(series, "errors")) >= CAMPAIGN_FAILURES_MAX;
}

static void note_missing(struct campaign *campaign, const struct plan_row *row, const struct plan_series *series,
                         const char *reason)
{
    json_array_append_new(campaign->missing, json_pack("{s:s, s:s, s:s, s:s}", "row", row->name, "dialler",
                                                       series->dialler, "listener", series->listener, "reason",
                                                       reason));
}

/* The series of a row whose programs are all there. */
static size_t row_series(const struct campaign *campaign, const struct plan_row *row,
                         struct plan_series out[PLAN_SERIES_MAX])
{
    const struct plan_mode *mode = &campaign->options->mode;
    size_t count = plan_make_series(out, row, mode, campaign->peers, campaign->peer_count), kept = 0;

    for (size_t i = 0; i < count; i++) {
        const struct side_spec *dialler = find_spec(campaign, out[i].dialler);
        const struct side_spec *listener = find_spec(campaign, out[i].listener);

        if ((campaign->options->only_references && !out[i].reference) ||
            ((is_slow(dialler) || is_slow(listener)) && !plan_suits_slow(row, &out[i])))
            continue;
        if (row->work == PLAN_PART || (dialler != NULL && listener != NULL))
            out[kept++] = out[i];
    }
    return kept;
}

static void count_row_calls(struct campaign *campaign, const struct plan_row *row, json_t *out)
{
    struct plan_series ours = {"ours", "ours", false};

    if (row->calls && !campaign->options->only_references && campaign->options->agent == NULL &&
        calls_obstacle() == NULL && !interrupted)
        run_series(campaign, row, &ours, results_series(out, &ours), true);
}

/* Whoever goes first goes last in the next round. */
static void run_round(struct campaign *campaign, const struct plan_row *row, const struct plan_series *series,
                      size_t count, unsigned round, unsigned runs, json_t *out)
{
    for (size_t i = 0; i < count; i++) {
        const struct plan_series *next = &series[(i + round) % count];
        double next_s = series_s(campaign, row, next);
        json_t *place = results_series(out, next);

        if (!interrupted && is_time_for(campaign, row, next) && !is_done(place, runs) && !is_hopeless(place))
            run_series(campaign, row, next, place, false);
        campaign->done_s += round < runs ? next_s : 0;
    }
}

/* Notes the series that have not all their runs.  True when all have. */
static bool note_row(struct campaign *campaign, const struct plan_row *row, const struct plan_series *series,
                     size_t count, json_t *out)
{
    bool done = true;

    for (size_t i = 0; i < count; i++) {
        json_t *place = results_series(out, &series[i]), *errors = json_object_get(place, "errors");
        const char *why = json_string_value(json_array_get(errors, json_array_size(errors) - 1));

        if (is_done(place, plan_runs(row, &campaign->options->mode)))
            continue;
        done = false;
        note_missing(campaign, row, &series[i], interrupted ? "interrupted" : why != NULL ? why : "out of time");
    }
    return done;
}

static void run_row(struct campaign *campaign, const struct plan_row *row)
{
    struct plan_series series[PLAN_SERIES_MAX];
    size_t count = row_series(campaign, row, series);
    unsigned runs = affordable_runs(campaign, row);
    double end_s = campaign->done_s + row_s(campaign, row, series, count);
    json_t *out = results_row(campaign->results, row);

    for (unsigned round = 0; round < runs + CAMPAIGN_FAILURES_MAX && count > 0; round++) /* for runs that fail */
        run_round(campaign, row, series, count, round, runs, out);
    campaign->done_s = end_s;
    count_row_calls(campaign, row, out);
    json_object_set_new(out, "done", json_boolean(note_row(campaign, row, series, count, out)));
    progress_row(row, out);
}

/* ---- All rows ------------------------------------------------------------------------ */

static bool selected(const struct campaign *campaign, const struct plan_row *row)
{
    const struct campaign_options *options = campaign->options;

    if (options->only_references && !(row->pairs & PLAN_REFERENCES))
        return false;
    return plan_selected(row, &options->mode, options->patterns, options->pattern_count);
}

/* With all series that it would have now: there may be more programs than before. */
static bool was_done(const struct campaign *campaign, const struct plan_row *row)
{
    const json_t *before = results_find_row(campaign->results, row->name);
    struct plan_series series[PLAN_SERIES_MAX];
    size_t count = row_series(campaign, row, series);

    for (size_t i = 0; i < count; i++) {
        const json_t *found = results_find_series(before, series[i].dialler, series[i].listener);

        if (found == NULL || !is_done(found, plan_runs(row, &campaign->options->mode)))
            return false;
    }
    return json_is_true(json_object_get(before, "done"));
}

/* Roughly how long what is left takes. */
static double plan_all_s(const struct campaign *campaign)
{
    const struct plan_row *rows;
    size_t count = plan_rows(&rows);
    struct plan_series series[PLAN_SERIES_MAX];
    double sum_s = 0;

    for (size_t i = 0; i < count; i++) {
        if (selected(campaign, &rows[i]) && !was_done(campaign, &rows[i]))
            sum_s += row_s(campaign, &rows[i], series, row_series(campaign, &rows[i], series));
    }
    return sum_s;
}

static bool save(const struct campaign *campaign)
{
    struct results_text error;

    if (results_save(campaign->results, campaign->options->path, &error))
        return true;
    progress_line("%s", error.text);
    return false;
}

static bool run_rows(struct campaign *campaign)
{
    const struct plan_row *rows;
    size_t count = plan_rows(&rows);

    for (size_t i = 0; i < count; i++) {
        if (!selected(campaign, &rows[i]))
            continue;
        if (was_done(campaign, &rows[i])) {
            progress_line("%s: done before", rows[i].name);
            continue;
        }
        run_row(campaign, &rows[i]);
        targets_evaluate(campaign->results);
        if (!save(campaign))
            return false;
    }
    return true;
}

/* Where targets are missed: what ours does with its CPU there.  What cannot be is
 * said, and makes no report partial. */
static void run_profiles(struct campaign *campaign)
{
    struct profiles_place places[PROFILES_MAX];
    size_t count = profiles_wanted(places, campaign->results);
    const char *obstacle = campaign->options->agent != NULL ? "listeners are on another machine"
                           : count > 0                      ? profile_obstacle()
                                                            : NULL;

    for (size_t i = 0; i < count && obstacle == NULL; i++) {
        struct side_spec dialler = placed(campaign, places[i].program, false);
        struct side_spec listener = placed(campaign, places[i].program, true);
        struct plan_series series = {.reference = false};

        if (dialler.name == NULL)
            continue; /* it was measured before this run */
        memcpy(series.dialler, places[i].program, sizeof(series.dialler));
        memcpy(series.listener, places[i].program, sizeof(series.listener));
        progress_running(1, places[i].row, &series);
        if (interrupted || left_s(campaign) < profiles_run_s(places[i].row))
            obstacle = "time was out; `--resume` goes on";
        else
            json_array_append_new(json_object_get(campaign->results, "profiles"),
                                  profiles_make(places[i].row, &dialler, &listener, campaign->apart));
    }
    if (count > 0 && obstacle != NULL)
        progress_line("no profiles: %s", obstacle);
    json_object_set_new(campaign->results, "profiles_missing", json_string(obstacle != NULL ? obstacle : ""));
}

static json_t *settings(const struct campaign_options *options)
{
    json_t *patterns = json_array();

    for (size_t i = 0; i < options->pattern_count; i++)
        json_array_append_new(patterns, json_string(options->patterns[i]));
    return json_pack("{s:b, s:i, s:f, s:f, s:f, s:b, s:b, s:o, s:s}", "quick", options->mode.quick, "runs",
                     (int)options->mode.runs, "warm", options->mode.warm_s, "seconds", options->mode.seconds,
                     "idle_seconds", options->mode.idle_seconds, "pin", options->pin, "only_references",
                     options->only_references, "rows", patterns, "listeners_at",
                     options->agent != NULL ? options->agent : "");
}

/* What failed before gets another chance. */
static void forgive(json_t *row)
{
    json_t *series;
    size_t index;

    if (json_is_true(json_object_get(row, "done")))
        return;
    json_array_foreach (json_object_get(row, "series"), index, series)
        json_array_clear(json_object_get(series, "errors"));
}

/* Results of another build are another program's. */
static bool are_as_before(const struct campaign *campaign)
{
    const json_t *sides = json_object_get(campaign->results, "sides");
    const char *name;
    json_t *before;

    json_object_foreach (campaign->sides_before, name, before) {
        const json_t *now = json_object_get(sides, name);

        if (now == NULL || json_equal(json_object_get(now, "version"), json_object_get(before, "version")))
            continue;
        progress_line("%s is of %s %.60s, and this is %.60s: start anew with another --out", campaign->options->path,
                      name, results_string(before, "version"), results_string(now, "version"));
        return false;
    }
    return true;
}

/* What differs, by name. */
static void say_difference(const struct campaign *campaign, const json_t *before, const char *part)
{
    const json_t *now = json_object_get(campaign->results, part), *then = json_object_get(before, part);
    const char *key;
    json_t *value;

    json_object_foreach ((json_t *)(uintptr_t)now, key, value) {
        char *here, *there;

        if (json_equal(value, json_object_get(then, key)))
            continue;
        here = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        there = json_dumps(json_object_get(then, key), JSON_ENCODE_ANY | JSON_COMPACT);
        progress_line("%s has other %s: %s is %.80s there, and %.80s here; give the same, or another --out",
                      campaign->options->path, part, key, there != NULL ? there : "nothing",
                      here != NULL ? here : "nothing");
        free(here);
        free(there);
        return;
    }
    progress_line("%s has other %s: give the same, or another --out", campaign->options->path, part);
}

/* Results of before, when they are of the same settings and machines. */
static bool resume(struct campaign *campaign)
{
    static const char *const same[] = {"settings", "machine", "listeners_machine"};
    struct results_text error;
    json_t *before = results_load(campaign->options->path, &error), *row;
    size_t index;

    if (before == NULL) {
        progress_line("%s", error.text);
        return false;
    }
    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
        const char *part = same[i];

        if (!json_equal(json_object_get(before, part), json_object_get(campaign->results, part))) {
            say_difference(campaign, before, part);
            json_decref(before);
            return false;
        }
    }
    json_array_foreach (json_object_get(before, "rows"), index, row)
        forgive(row);
    json_object_set(campaign->results, "created", json_object_get(before, "created"));
    json_object_set(campaign->results, "rows", json_object_get(before, "rows"));
    campaign->sides_before = json_incref(json_object_get(before, "sides"));
    profiles_keep(campaign->results, before);
    json_decref(before);
    return true;
}

static bool open_results(struct campaign *campaign, const struct machine_place *place)
{
    const struct campaign_options *options = campaign->options;

    struct side_text error;
    json_t *other = json_null();

    if (options->agent != NULL && (other = agent_machine(options->agent, &error)) == NULL) {
        progress_line("%s", error.text);
        return false;
    }
    campaign->results = results_new(settings(options), machine_facts(place));
    json_object_set_new(campaign->results, "listeners_machine", other);
    campaign->missing = json_array();
    json_object_set_new(campaign->results, "missing", campaign->missing);
    if (access(options->path, F_OK) != 0)
        return true;
    if (options->resume)
        return resume(campaign);
    progress_line("%s is there already: --resume goes on with it, another --out leaves it", options->path);
    return false;
}

json_t *campaign_run(const struct campaign_options *options, const struct machine_place *place,
                     enum campaign_outcome *outcome)
{
    struct campaign campaign = {.options = options, .apart = place->apart, .begin_s = bench_now_s()};
    bool ready;

    *outcome = CAMPAIGN_NONE;
    campaign.deadline_s = campaign.begin_s + options->minutes * 60;
    signal(SIGPIPE, SIG_IGN); /* a program that has ended is told from its output */
    signal(SIGINT, on_interrupt);
    signal(SIGTERM, on_interrupt);
    signal(SIGHUP, on_interrupt);
    ready = open_results(&campaign, place) && add_specs(&campaign) && are_as_before(&campaign);
    json_decref(campaign.sides_before);
    if (!ready) {
        json_decref(campaign.results);
        return NULL;
    }
    campaign.begin_s = bench_now_s();
    campaign.planned_s = plan_all_s(&campaign);
    progress_line("about %.0f min, at most %g", ceil(campaign.planned_s / 60), options->minutes);
    if (run_rows(&campaign)) {
        bool complete = json_array_size(campaign.missing) == 0;

        json_object_set_new(campaign.results, "complete", json_boolean(complete));
        targets_evaluate(campaign.results);
        run_profiles(&campaign);
        if (save(&campaign))
            *outcome = complete ? CAMPAIGN_COMPLETE : CAMPAIGN_PARTIAL;
    }
    if (*outcome == CAMPAIGN_NONE) {
        json_decref(campaign.results);
        return NULL;
    }
    return campaign.results;
}
