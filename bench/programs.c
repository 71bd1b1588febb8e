#include "programs.h"

#include "bench.h"

#include <glob.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

const char *programs_text(const char *format, ...)
{
    va_list arguments;
    char *text = NULL;

    va_start(arguments, format);
    if (vasprintf(&text, format, arguments) < 0)
        text = NULL;
    va_end(arguments);
    return bench_keep(text);
}

const char *programs_own(const char *arguments)
{
    char self[4096];
    ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);

    self[length > 0 ? length : 0] = '\0';
    return programs_text("'%s' %s", self, arguments);
}

const char *programs_command(const char *name, unsigned spin_us)
{
    static const struct {
        const char *name, *arguments;
        bool spins;
    } all[PLAN_OWN_NAMES] = {
        {"ours", "serve", false},
        {"ours-epoll", "serve --driver epoll", false},
        {"ours-2w", "serve --workers 2", false},
        {"ours-sleep", "serve --spin 0", false},
        {"raw", "raw", true},
        {"raw-aead", "raw --aead", true},
        {"raw-sleep", "raw", false},
        {"crypto", "raw", false},
    };
    char arguments[64];

    for (size_t i = 0; i < PLAN_OWN_NAMES; i++) {
        if (strcmp(all[i].name, name) != 0)
            continue;
        snprintf(arguments, sizeof(arguments), "%s --spin %u", all[i].arguments, spin_us * PROGRAMS_REFERENCE_SPINS);
        return programs_own(all[i].spins && spin_us > 0 ? arguments : all[i].arguments);
    }
    bench_die("no program of ours is called %s", name);
}

size_t programs_ours(struct side_spec out[PLAN_OWN_NAMES], const char *ours)
{
    for (size_t i = 0; i < PLAN_OWN_NAMES; i++) {
        const char *name = plan_own_names[i], *command = programs_command(name, BENCH_SPIN_US);

        if (strcmp(name, "ours") == 0 && ours != NULL)
            command = ours;
        out[i] = (struct side_spec){.name = name, .command = command, .cpu = -1};
    }
    return PLAN_OWN_NAMES;
}

/* ---- Peers that tests/interop has built ----------------------------------------------- */

static char *newest(const char *kind)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char *pattern = NULL, *found = NULL;
    time_t youngest = 0;
    glob_t paths;

    if (cache == NULL && home == NULL)
        return NULL;
    if (asprintf(&pattern, "%s%s/chorus-p2p/interop/%s-????????????????", cache != NULL ? cache : home,
                 cache != NULL ? "" : "/.cache", kind) < 0)
        bench_die("no memory");
    if (glob(pattern, 0, NULL, &paths) == 0) {
        for (size_t i = 0; i < paths.gl_pathc; i++) {
            struct stat status;

            if (stat(paths.gl_pathv[i], &status) != 0 || status.st_mtime < youngest)
                continue;
            youngest = status.st_mtime;
            free(found);
            found = strdup(paths.gl_pathv[i]);
        }
        globfree(&paths);
    }
    free(pattern);
    return found;
}

static const char *known_command(const char *kind)
{
    char *folder = newest(kind);
    const char *command;

    if (folder == NULL)
        return "sh -c 'echo not built: tests/interop/run --build-only does it >&2'";
    command = strcmp(kind, "js") == 0 ? programs_text("node '%s/peer.mjs' listen --key ed25519", folder)
                                      : programs_text("'%s/peer' listen --key ed25519", folder);
    free(folder);
    return command;
}

size_t programs_known_peers(struct side_spec peers[PLAN_PEERS_MAX], size_t count)
{
    static const char *const kinds[] = {"go", "rust", "js"};

    for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]) && count < PLAN_PEERS_MAX; k++) {
        bool named = false;

        for (size_t i = 0; i < count; i++)
            named = named || strcmp(peers[i].name, kinds[k]) == 0;
        if (!named)
            peers[count++] = (struct side_spec){.name = kinds[k], .command = known_command(kinds[k]), .cpu = -1};
    }
    return count;
}
