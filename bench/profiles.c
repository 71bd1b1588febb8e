#include "profiles.h"

#include "profile.h"
#include "results.h"
#include "runner.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define SAMPLED_S 1.0
#define LONGER_S 1.5 /* runs go on, for perf to find all threads of both sides */
#define WARM_S 0.3
#define PRINT_S 1.0  /* perf takes to write, and to print */

static double sampled_s(const struct plan_row *row)
{
    return row->work == PLAN_IDLE ? PROFILES_IDLE_S : SAMPLED_S;
}

static struct plan_mode mode_of(const struct plan_row *row)
{
    double seconds = sampled_s(row) + LONGER_S;

    return (struct plan_mode){.runs = 1, .warm_s = WARM_S, .seconds = seconds, .idle_seconds = seconds,
                              .connects_s = PLAN_CONNECTS_S};
}

double profiles_run_s(const struct plan_row *row)
{
    struct plan_mode mode = mode_of(row);

    return plan_run_s(row, &mode) + PRINT_S;
}

const json_t *profiles_find(const json_t *results, const char *row, const char *program)
{
    const json_t *all = json_object_get(results, "profiles"), *profile;
    size_t index;

    json_array_foreach (all, index, profile) {
        if (strcmp(results_string(profile, "row"), row) == 0 &&
            strcmp(results_string(profile, "program"), program) == 0)
            return profile;
    }
    return NULL;
}

static bool is_there(const struct profiles_place *places, size_t count, const struct plan_row *row, const char *program)
{
    for (size_t i = 0; i < count; i++) {
        if (places[i].row == row && strcmp(places[i].program, program) == 0)
            return true;
    }
    return false;
}

size_t profiles_wanted(struct profiles_place out[PROFILES_MAX], const json_t *results)
{
    const json_t *all = json_object_get(results, "targets"), *target;
    size_t index, count = 0;

    json_array_foreach (all, index, target) {
        const char *program = results_string(target, "program");
        const struct plan_row *row = plan_find(results_string(target, "row"));

        if (row == NULL || json_is_true(json_object_get(target, "met")) || count == PROFILES_MAX ||
            strncmp(results_string(target, "figure"), "memory", 6) == 0 ||
            profiles_find(results, row->name, program) != NULL || is_there(out, count, row, program))
            continue;
        out[count].row = row;
        snprintf(out[count++].program, sizeof(out[0].program), "%s", program);
    }
    return count;
}

json_t *profiles_make(const struct plan_row *row, const struct side_spec *dialler, const struct side_spec *listener,
                      bool apart)
{
    struct plan_mode mode = mode_of(row);
    struct runner_request request = {.row = row, .mode = &mode, .dialler = dialler, .listener = listener,
                                     .apart = apart, .profile_s = sampled_s(row)};
    struct runner_result result;
    json_t *out;

    runner_run(&request, &result);
    out = json_pack("{s:s, s:s, s:O?, s:O?, s:s}", "row", row->name, "program", dialler->name, "dialler",
                    result.profiles[0], "listener", result.profiles[1], "reason", result.error.text);
    runner_result_fini(&result);
    return out;
}

void profiles_keep(json_t *results, const json_t *before)
{
    const json_t *all = json_object_get(before, "profiles");
    json_t *profile;
    size_t index;

    json_array_foreach (all, index, profile) {
        if (*results_string(profile, "reason") == '\0')
            json_array_append(json_object_get(results, "profiles"), profile);
    }
}
