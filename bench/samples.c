#include "samples.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

const char *const samples_kind_names[SAMPLES_KINDS] = {"network", "copies", "wake", "kernel",
                                                       "cipher", "handshake", "own", "libraries"};
const char *const samples_kind_titles[SAMPLES_KINDS] = {
    "TCP and network, in the kernel", "copies, of the kernel and in memory", "sleeping and waking",
    "rest of the kernel", "cipher", "handshake's crypto", "own code", "libraries",
};

struct frame {
    char symbol[SAMPLES_NAME_BYTES]; /* "": it has no name */
    char object[SAMPLES_NAME_BYTES]; /* the file without its folder; "[kernel.kallsyms]" */
};

/* A sample, the innermost frame first. */
struct chain {
    struct frame frames[SAMPLES_FRAMES_MAX];
    size_t count;
};

/* ---- What a sample is ------------------------------------------------------------- */

static bool begins(const char *text, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strncmp(text, words[i], strlen(words[i])) == 0)
            return true;
    }
    return false;
}

#define BEGINS(Text, ...)                                                                                              \
    begins(Text, (const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

static bool is_kernel(const struct frame *frame)
{
    return frame->object[0] == '[' && strcmp(frame->object, "[vdso]") != 0 && strcmp(frame->object, "[unknown]") != 0;
}

static const struct frame *find(const struct chain *chain, bool (*is)(const struct frame *frame))
{
    for (size_t i = 0; i < chain->count; i++) {
        if (is(&chain->frames[i]))
            return &chain->frames[i];
    }
    return NULL;
}

static bool copies(const struct frame *frame)
{
    return BEGINS(frame->symbol, "_copy_to_iter", "_copy_from_iter", "copy_user_", "copy_page_", "_copy_to_user",
                  "_copy_from_user", "rep_movs", "__memcpy", "__memmove", "__memset", "memcpy", "memmove", "memset");
}

static bool sleeps(const struct frame *frame)
{
    return is_kernel(frame) && BEGINS(frame->symbol, "schedule", "__schedule", "try_to_wake_up", "__wake_up",
                                      "finish_task_switch", "futex_", "do_futex", "do_idle", "pick_next_task");
}

static bool networks(const struct frame *frame)
{
    return is_kernel(frame) && BEGINS(frame->symbol, "tcp_", "__tcp_", "ip_", "__ip_", "inet_", "sock_", "__sock_",
                                      "__sys_recv", "__sys_send", "__sys_accept", "__sys_connect", "__sys_socket",
                                      "net_rx_", "__napi_", "__netif", "dev_", "__dev_", "skb_", "__skb_", "io_recv",
                                      "io_send", "io_accept", "io_connect", "process_backlog", "do_softirq",
                                      "bbr_", "cubic", "sk_", "__sk_", "release_sock", "lock_sock");
}

static bool seals(const struct frame *frame)
{
    return strncmp(frame->symbol, "aead_", 5) == 0;
}

static bool is_crypto(const struct frame *frame)
{
    return BEGINS(frame->object, "libcrypto", "libsodium");
}

/* Libraries of cryptography have no names for their inner functions: whether they
 * do the cipher is told by who called. */
static enum samples_kind kind_of(const struct chain *chain, const char *program)
{
    const struct frame *leaf = &chain->frames[0];

    if (copies(leaf))
        return SAMPLES_COPIES;
    if (is_kernel(leaf)) {
        if (sleeps(leaf))
            return SAMPLES_WAKE;
        for (size_t i = 0; i < chain->count; i++) { /* whichever is nearer */
            if (networks(&chain->frames[i]))
                return SAMPLES_NETWORK;
            if (sleeps(&chain->frames[i]))
                return SAMPLES_WAKE;
        }
        return SAMPLES_KERNEL;
    }
    if (find(chain, seals) != NULL)
        return SAMPLES_CIPHER;
    if (find(chain, is_crypto) != NULL)
        return SAMPLES_HANDSHAKE;
    return strcmp(leaf->object, program) == 0 ? SAMPLES_OWN : SAMPLES_LIBRARIES;
}

/* ---- Counting ------------------------------------------------------------------------ */

/* A function without a name goes by its library and, in one of those of the
 * program that have none, by who called it. */
static void name_sample(const struct chain *chain, const char *program, char *out, size_t size)
{
    const struct frame *leaf = &chain->frames[0];

    if (*leaf->symbol != '\0') {
        snprintf(out, size, "%s", leaf->symbol);
        return;
    }
    for (size_t i = 1; i < chain->count; i++) {
        if (strcmp(chain->frames[i].object, program) == 0 && *chain->frames[i].symbol != '\0') {
            snprintf(out, size, "%.24s of %.32s", leaf->object, chain->frames[i].symbol);
            return;
        }
    }
    snprintf(out, size, "%s", leaf->object);
}

static void count(struct samples *samples, const struct chain *chain, const char *program)
{
    enum samples_kind kind = kind_of(chain, program);
    struct samples_symbol *symbol;
    char name[SAMPLES_NAME_BYTES];

    name_sample(chain, program, name, sizeof(name));
    samples->count++;
    samples->kinds[kind]++;
    for (size_t i = 0; i < samples->symbol_count; i++) {
        if (samples->symbols[i].kind == kind && strcmp(samples->symbols[i].name, name) == 0) {
            samples->symbols[i].count++;
            return;
        }
    }
    if (samples->symbol_count == SAMPLES_SYMBOLS_MAX)
        return;
    symbol = &samples->symbols[samples->symbol_count++];
    *symbol = (struct samples_symbol){.kind = kind, .count = 1};
    memcpy(symbol->name, name, sizeof(name));
}

static int compare(const void *a, const void *b)
{
    const struct samples_symbol *x = a, *y = b;

    return x->count != y->count ? (x->count < y->count ? 1 : -1) : strcmp(x->name, y->name);
}

/* ---- Reading --------------------------------------------------------------------------- */

/* "   2ff58a EVP_DecryptUpdate (/usr/lib/libcrypto.so.3)".  A symbol may have
 * spaces and parentheses; a file is what stands in the last pair. */
static bool read_frame(struct frame *out, char *line)
{
    char *end, *open, *close, *slash;

    line += strspn(line, " \t");
    (void)strtoull(line, &end, 16);
    open = strrchr(line, '(');
    close = strrchr(line, ')');
    if (end == line || *end != ' ' || open == NULL || close < open || open <= end)
        return false;
    *close = '\0';
    open[-1] = '\0';
    slash = strrchr(open + 1, '/');
    snprintf(out->object, sizeof(out->object), "%s", slash != NULL ? slash + 1 : open + 1);
    end += strspn(end, " ");
    snprintf(out->symbol, sizeof(out->symbol), "%s", end < open && strcmp(end, "[unknown]") != 0 ? end : "");
    return true;
}

/* The begin of a line, however long it is.  False at the end. */
static bool read_line(char *out, int size, FILE *script)
{
    if (fgets(out, size, script) == NULL)
        return false;
    if (strchr(out, '\n') == NULL) {
        int c;

        do
            c = fgetc(script);
        while (c != '\n' && c != EOF);
    }
    return true;
}

void samples_read(struct samples *out, FILE *script, const char *program)
{
    struct chain chain = {.count = 0};
    char line[1024];
    bool more;

    *out = (struct samples){.count = 0};
    do {
        more = read_line(line, sizeof(line), script);
        if (more && line[strspn(line, " \t\n")] != '\0') {
            if (chain.count < SAMPLES_FRAMES_MAX && read_frame(&chain.frames[chain.count], line))
                chain.count++;
            continue;
        }
        if (chain.count > 0)
            count(out, &chain, program);
        chain.count = 0;
    } while (more);
    qsort(out->symbols, out->symbol_count, sizeof(out->symbols[0]), compare);
}
