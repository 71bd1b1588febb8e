/* Our side of the interoperation tests: the contract of README.md beside this
 * folder, through the public header. */

#include "interop.h"

#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

/* ---- Commands ----------------------------------------------------------------- */

static const struct {
    const char *name;
    int arguments;
    void (*run)(const struct command *command);
} cases[] = {
    {"ping", 2, case_ping}, {"identify", 1, case_identify}, {"learned", 1, case_learned}, {"echo", 2, case_echo},
    {"streams", 3, case_streams}, {"half", 1, case_half}, {"reset", 1, case_reset}, {"wrong-id", 1, case_wrong_id},
    {"idle", 2, case_idle}, {"perf", 3, case_perf}, {"simultaneous", 1, case_simultaneous},
    {"disconnect", 1, case_disconnect},
};

static void *run_command(void *argument)
{
    struct command *command = argument;
    size_t count = sizeof(cases) / sizeof(cases[0]), i;

    for (i = 0; i < count && strcmp(cases[i].name, command->name) != 0; i++)
        ;
    if (i == count)
        interop_answer(command, json_object(), "no command '%s'", command->name);
    else if (command->argument_count < cases[i].arguments)
        interop_answer(command, json_object(), "%s needs %d arguments", command->name, cases[i].arguments);
    else
        cases[i].run(command);
    free(command->line);
    free(command);
    return NULL;
}

static void start_command(char *line, pthread_t *thread)
{
    struct command *command = calloc(1, sizeof(*command));
    char *save = NULL, *word;

    command->line = strdup(line);
    word = strtok_r(command->line, " \n", &save);
    snprintf(command->id, sizeof(command->id), "%s", word != NULL ? word : "");
    word = strtok_r(NULL, " \n", &save);
    snprintf(command->name, sizeof(command->name), "%s", word != NULL ? word : "");
    while (command->argument_count < ARGUMENTS_MAX && (word = strtok_r(NULL, " \n", &save)) != NULL)
        command->arguments[command->argument_count++] = word;
    pthread_create(thread, NULL, run_command, command);
}

static int serve_commands(void)
{
    pthread_t *threads = NULL;
    size_t count = 0, capacity = 0;
    char *line = NULL;
    size_t size = 0;

    while (getline(&line, &size, stdin) > 0) {
        if (count == capacity) {
            capacity = capacity == 0 ? 64 : 2 * capacity;
            pthread_t *more = realloc(threads, capacity * sizeof(*threads));
            if (more == NULL)
                break;
            threads = more;
        }
        start_command(line, &threads[count++]);
    }
    for (size_t i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    free(threads);
    free(line);
    return 0;
}

/* Events of the listening node are read so that they do not pile up. */
static void *take_events(void *argument)
{
    struct p2p_event event = {0};

    (void)argument;
    while (event.type != P2P_EVENT_NODE_CLOSED) {
        if (p2p_node_wait_event(interop_listening, &event, -1) != 0)
            event.type = P2P_EVENT_NONE;
    }
    return NULL;
}

static int usage(void)
{
    fputs("usage: interop_node listen --key ed25519|rsa|secp256k1|ecdsa [--security noise|plaintext]\n", stderr);
    return 2;
}

static int parse(int argc, char **argv)
{
    static const char *const types[] = {"rsa", "ed25519", "secp256k1", "ecdsa"};

    if (argc < 2 || strcmp(argv[1], "listen") != 0)
        return usage();
    for (int i = 2; i + 1 < argc; i += 2) {
        bool known = false;

        for (int type = 0; strcmp(argv[i], "--key") == 0 && type < 4; type++) {
            if (strcmp(argv[i + 1], types[type]) != 0)
                continue;
            interop_settings.key_type = (enum p2p_key_type)type;
            known = true;
        }
        if (strcmp(argv[i], "--security") == 0) {
            interop_settings.plaintext = strcmp(argv[i + 1], "plaintext") == 0;
            known = interop_settings.plaintext || strcmp(argv[i + 1], "noise") == 0;
        }
        if (!known)
            return usage();
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct p2p_error_text text = {""};
    struct p2p_address addresses[16];
    size_t count = 0;
    pthread_t events;
    int error = parse(argc, argv);

    if (error != 0)
        return error;
    if (sodium_init() < 0)
        return 1;
    error = interop_node(&interop_listening, true, &text);
    if (error == 0)
        error = served_register(interop_listening);
    if (error == 0)
        error = p2p_node_addresses(interop_listening, addresses, 16, &count);
    if (error != 0) {
        fprintf(stderr, "interop_node: %s\n", text.text[0] != '\0' ? text.text : p2p_error_string(error));
        return 1;
    }
    for (size_t i = 0; i < count && i < 16; i++)
        puts(addresses[i].text);
    puts("ready");
    fflush(stdout);
    pthread_create(&events, NULL, take_events, NULL);
    (void)serve_commands(); /* until the end of standard input */
    interop_free_kept();
    error = p2p_node_close(interop_listening, 5000);
    pthread_join(events, NULL);
    p2p_node_free(interop_listening);
    return error == 0 ? 0 : 1;
}
