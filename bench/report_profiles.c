#include "report.h"

#include "results.h"
#include "samples.h"

#include <math.h>
#include <string.h>

/* Profiles as tables. */

static const char *const sides[] = {"dialler", "listener"};

enum { OWN_TOLD = 4 }; /* functions of ours beside their share */

static const json_t *side_of(const json_t *profile, int side)
{
    return json_object_get(profile, sides[side]);
}

static void put_head(struct report_table *out, const json_t *profile, const char *const *head, size_t count)
{
    *out = (struct report_table){.columns = count};
    snprintf(out->title, sizeof(out->title), "%s, %s", results_string(profile, "row"),
             results_string(profile, "program"));
    for (size_t c = 0; c < count; c++)
        snprintf(out->head[c], REPORT_CELL_BYTES, "%s", head[c]);
}

static void put_share(char *out, double share)
{
    if (isfinite(share))
        snprintf(out, REPORT_CELL_BYTES, share > 0 && share < 9.95 ? "%.1f %%" : "%.0f %%", share);
    else
        snprintf(out, REPORT_CELL_BYTES, "–");
}

/* "turn 2.1 %, feed 1.3 %" */
static void list_own(char *out, size_t size, const json_t *side)
{
    const json_t *all = json_object_get(side, "own"), *function;
    size_t index, used = 0;

    *out = '\0';
    json_array_foreach (all, index, function) {
        if (index == OWN_TOLD || used >= size)
            return;
        used += (size_t)snprintf(out + used, size - used, "%s%s %.1f %%", index > 0 ? ", " : "",
                                 results_string(function, "symbol"), results_number(function, "share"));
    }
}

/* Which functions of ours these are. */
static void note_own(char *out, size_t size, const json_t *profile, int count)
{
    char own[2][400];

    for (int i = 0; i < 2; i++)
        list_own(own[i], sizeof(own[i]), side_of(profile, i));
    if (count == 1)
        snprintf(out, size, "%s", own[0]);
    else if (*own[0] != '\0' || *own[1] != '\0')
        snprintf(out, size, "dialling: %s; listening: %s", *own[0] != '\0' ? own[0] : "none",
                 *own[1] != '\0' ? own[1] : "none");
}

/* What has no listener is a part of our runtime, in one program. */
static int count_sides(const json_t *profile)
{
    return json_is_object(side_of(profile, 1)) || *results_string(profile, "reason") != '\0' ? 2 : 1;
}

void report_profile(struct report_table *out, const json_t *profile)
{
    int count = count_sides(profile);

    put_head(out, profile, (const char *const[]){"CPU goes to", count > 1 ? "dialling" : "share", "listening"},
             (size_t)count + 1);
    for (int kind = 0; kind < SAMPLES_KINDS; kind++, out->lines++) {
        snprintf(out->cells[out->lines][0], REPORT_CELL_BYTES, "%s", samples_kind_titles[kind]);
        for (int i = 0; i < count; i++)
            put_share(out->cells[out->lines][i + 1], results_number(json_object_get(side_of(profile, i), "shares"),
                                                                    samples_kind_names[kind]));
        if (kind == SAMPLES_OWN)
            note_own(out->note[out->lines], sizeof(out->note[0]), profile, count);
    }
    snprintf(out->cells[out->lines][0], REPORT_CELL_BYTES, "cores busy (samples)");
    for (int i = 0; i < count; i++) {
        char cores[32];

        results_print(cores, sizeof(cores), results_number(side_of(profile, i), "cores"));
        snprintf(out->cells[out->lines][i + 1], REPORT_CELL_BYTES, "%s (%lld)", cores,
                 (long long)json_integer_value(json_object_get(side_of(profile, i), "samples")));
    }
    snprintf(out->note[out->lines], sizeof(out->note[0]), "%s", results_string(profile, "reason"));
    out->lines++;
}

void report_functions(struct report_table *out, const json_t *profile)
{
    int count = count_sides(profile);

    put_head(out, profile, (const char *const[]){count > 1 ? "functions, dialling" : "functions", "share",
                                                 "functions, listening", "share"}, 2 * (size_t)count);
    for (int i = 0; i < count; i++) {
        const json_t *all = json_object_get(side_of(profile, i), "symbols"), *function;
        size_t index, column = (size_t)i * 2;

        json_array_foreach (all, index, function) {
            if (index == REPORT_LINES_MAX)
                break;
            snprintf(out->cells[index][column], REPORT_CELL_BYTES, "%s", results_string(function, "symbol"));
            put_share(out->cells[index][column + 1], results_number(function, "share"));
            out->lines = index + 1 > out->lines ? index + 1 : out->lines;
        }
    }
}

/* Where perf may not look into the kernel, nothing is the kernel's. */
static bool lacks_kernel(const json_t *results)
{
    const json_t *profile;
    double kernel = 0;
    size_t index;

    json_array_foreach (json_object_get(results, "profiles"), index, profile) {
        for (int i = 0; i < 2; i++) {
            const json_t *shares = json_object_get(side_of(profile, i), "shares");

            if (shares != NULL)
                kernel += results_number(shares, "network") + results_number(shares, "kernel") +
                          results_number(shares, "wake");
        }
    }
    return kernel <= 0;
}

void report_about_profiles(char *out, size_t size, const json_t *results)
{
    const char *missing = results_string(results, "profiles_missing");
    bool any = json_array_size(json_object_get(results, "profiles")) > 0;
    size_t length;

    snprintf(out, size, "%s", any ? "Of rows in which a target is missed: what each side's CPU goes to, sampled by "
                                    "perf in a run of its own that counts for nothing else." : "");
    length = strlen(out);
    if (any && lacks_kernel(results))
        snprintf(out + length, size - length, " The kernel's part is not in it: this user may not see it (root may, or "
                                              "anybody where kernel.perf_event_paranoid is 1 or less).");
    length = strlen(out);
    if (*missing != '\0')
        snprintf(out + length, size - length, "%s%s: %s.", any ? " " : "",
                 any ? "The others have none" : "Rows in which a target is missed have no profiles", missing);
}
