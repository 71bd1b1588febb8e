#include "part.h"

#include "bench.h"
#include "meter.h"
#include "profile.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* A line of bench_row() with --json.  False when it is none. */
static bool take_row(const char *text, struct runner_result *result)
{
    json_t *line = json_loads(text, 0, NULL);
    const char *row = json_string_value(json_object_get(line, "row"));
    const json_t *ours = json_object_get(line, "ours"), *value = json_object_get(line, "value");
    bool taken = row != NULL && json_is_number(ours);
    char name[128];

    if (taken) {
        json_object_set_new(result->figures, row, json_real(json_number_value(ours)));
        snprintf(name, sizeof(name), "%s", json_string_value(json_object_get(line, "reference")) != NULL
                                               ? json_string_value(json_object_get(line, "reference"))
                                               : "");
        if (name[0] != '\0' && json_is_number(value))
            json_object_set_new(result->figures, name, json_real(json_number_value(value)));
    }
    json_decref(line);
    return taken;
}

static void write_command(char *out, size_t size, const struct plan_row *row)
{
    char self[4096];
    ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);

    self[length > 0 ? length : 0] = '\0';
    snprintf(out, size, "exec '%s' %s --json --runs 1", self, row->name);
}

/* Its one program counts as the dialler. */
static void sample(const char *command, struct runner_result *result)
{
    struct profile profile;
    struct profile_text why;

    if (profile_start(&profile, NULL, 0, command, 0, &why))
        result->profiles[0] = profile_finish(&profile, &why);
    result->ok = result->profiles[0] != NULL;
    if (!result->ok)
        snprintf(result->error.text, sizeof(result->error.text), "%s", why.text);
}

void part_run(const struct runner_request *request, struct runner_result *result)
{
    char command[8192], line[1024];
    struct meter meter = {.ours_count = 0};
    struct meter_reading begin, end;
    FILE *output;
    int status;

    write_command(command, sizeof(command), request->row);
    if (request->profile_s > 0) {
        sample(command, result);
        return;
    }
    meter_read(&meter, &begin);
    output = popen(command, "re");
    while (output != NULL && fgets(line, sizeof(line), output) != NULL)
        (void)take_row(line, result); /* other output is no figure */
    status = output != NULL ? pclose(output) : -1;
    meter_read(&meter, &end);
    result->foreign = fmax(0, end.foreign_s - begin.foreign_s) / (end.at_s - begin.at_s);
    result->steal = (end.steal_s - begin.steal_s) / (end.at_s - begin.at_s);
    result->ok = status == 0 && json_object_size(result->figures) > 0;
    if (!result->ok)
        snprintf(result->error.text, sizeof(result->error.text), "chorus-bench %s: status %d", request->row->name,
                 WIFEXITED(status) ? WEXITSTATUS(status) : status);
}
