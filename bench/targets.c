#include "targets.h"

#include "results.h"

#include <math.h>
#include <string.h>

/* A program with its own kind. */
struct place {
    const char *row, *program, *figure;
};

struct target {
    const char *text;
    struct place ours;
    struct place against;   /* without a row that of ours, without a figure that of ours; none: `value` */
    double value;
    char sign;              /* '>': at least, '<': at most */
    double wanted;          /* the ratio */
    const char *bound;      /* what stands in the way, when it is missed */
};

#define STREAM_BOUND                                                                                                   \
    "one stream is one core's work on each side: the cipher, the kernel's copies and the stream's own pass share it"
#define WAKE_BOUND                                                                                                     \
    "a sleeping core takes longer to wake than the round trip does; whoever sleeps on either side pays it"
#define AWAKE_BOUND                                                                                                    \
    "of two that are awake, TCP there and back is all; four passes of the cipher over small records, and yamux, " \
    "come on top: nothing hides them"
#define REQUEST_BOUND                                                                                                  \
    "the kernel's TCP path is most of a small request; what is left is two ciphers, yamux and a hop to the stream"
#define CONNECT_BOUND                                                                                                  \
    "the crypto of the handshake (4 X25519 a side, and an Ed25519 check of a peer not seen before) is the floor, " \
    "which both sides pay at once on this machine's cores; sockets and identify come on top"

#define TURN_BOUND "a turn that finds few messages has few to share its kernel entry"
#define STREAMS_BOUND                                                                                                  \
    "both sides work in turns of some sixteen streams: to wake the other side and to move bytes from core to core " \
    "costs more than yamux and the cipher"

static const struct target targets[] = {
    {"bulk, one stream, of plain TCP with the cipher", {"bulk-up", "ours", "rate"}, {NULL, "raw-aead", NULL}, 0, '>',
     0.85, STREAM_BOUND},
    {"bulk, one stream, against go", {"bulk-up", "ours", "rate"}, {NULL, "go", NULL}, 0, '>', 2, STREAM_BOUND},
    {"bulk, one stream, against rust", {"bulk-up", "ours", "rate"}, {NULL, "rust", NULL}, 0, '>', 2, STREAM_BOUND},
    {"bulk, one stream, against js", {"bulk-up", "ours", "rate"}, {NULL, "js", NULL}, 0, '>', 5,
     "js-libp2p moves some 800 MB/s here; five times that is more than plain TCP with the cipher carries"},
    {"CPU of receiving, against go", {"bulk-up", "ours", "listener_cpu"}, {NULL, "go", NULL}, 0, '<', 0.5,
     STREAM_BOUND},
    {"CPU of sending, against go", {"bulk-up", "ours", "dialler_cpu"}, {NULL, "go", NULL}, 0, '<', 0.62, STREAM_BOUND},
    {"CPU of receiving, of plain TCP with the cipher", {"bulk-up", "ours", "listener_cpu"}, {NULL, "raw-aead", NULL},
     0, '<', 1.15, STREAM_BOUND},
    {"CPU of sending, of plain TCP with the cipher", {"bulk-up", "ours", "dialler_cpu"}, {NULL, "raw-aead", NULL}, 0,
     '<', 1.15, STREAM_BOUND},

    /* Known: a signature that has been checked is not checked again. */
    {"connects of known peers, 50 at a time, against go", {"handshake-50", "ours", "rate"},
     {NULL, "go", NULL}, 0, '>', 4, CONNECT_BOUND},
    {"connects of known peers, 50 at a time, against rust", {"handshake-50", "ours", "rate"},
     {NULL, "rust", NULL}, 0, '>', 3, CONNECT_BOUND},
    {"listener's CPU of a connect of a known peer, of the crypto alone",
     {"handshake-50", "ours", "listener_cpu"}, {NULL, "crypto", "cpu"}, 0, '<', 1.7, CONNECT_BOUND},
    {"listener's CPU of a connect of a known peer, against go",
     {"handshake-50", "ours", "listener_cpu"}, {NULL, "go", NULL}, 0, '<', 0.28, CONNECT_BOUND},
    {"listener's CPU of a connect of a known peer, against rust",
     {"handshake-50", "ours", "listener_cpu"}, {NULL, "rust", NULL}, 0, '<', 0.38, CONNECT_BOUND},
    {"connects of new peers, 50 at a time, against go", {"handshake-50-distinct", "ours", "rate"},
     {NULL, "go", NULL}, 0, '>', 4, CONNECT_BOUND},
    {"connects of new peers, 50 at a time, against rust", {"handshake-50-distinct", "ours", "rate"},
     {NULL, "rust", NULL}, 0, '>', 3, CONNECT_BOUND},
    {"listener's CPU of a connect of a new peer, of the crypto alone",
     {"handshake-50-distinct", "ours", "listener_cpu"}, {NULL, "crypto", "cpu"}, 0, '<', 1.7, CONNECT_BOUND},
    {"listener's CPU of a connect of a new peer, against go",
     {"handshake-50-distinct", "ours", "listener_cpu"}, {NULL, "go", NULL}, 0, '<', 0.28, CONNECT_BOUND},
    {"listener's CPU of a connect of a new peer, against rust",
     {"handshake-50-distinct", "ours", "listener_cpu"}, {NULL, "rust", NULL}, 0, '<', 0.38, CONNECT_BOUND},

    {"user memory of an idle connection, of 1,024 B", {"idle-10000", "ours", "memory"}, {NULL, NULL, NULL}, 1024, '<',
     1, "what a connection keeps for ever: keys, session, yamux, peer, and what the heap adds"},
    {"100,000 idle pairs, both ends and the kernel's share, of 1.25 GB", {"idle-100000", "ours", "memory_all"},
     {NULL, NULL, NULL}, 1.25, '<', 1, "the kernel's two sockets and what waits on them are four fifths of it"},
    {"CPU of 100 idle connections, of 0.02 % of a core", {"idle-10000", "ours", "cpu_idle"}, {NULL, NULL, NULL}, 0.02,
     '<', 1, "a probe each 30 s takes two packets and a wake, which the kernel's TCP path dominates"},

    {"ping, median, of plain TCP, where both sleep", {"rtt", "ours-sleep", "p50"}, {NULL, "raw-sleep", NULL}, 0, '<',
     1.10, WAKE_BOUND},
    {"ping, median, against go", {"rtt", "ours", "p50"}, {NULL, "go", NULL}, 0, '<', 1, WAKE_BOUND},
    {"ping, median, of plain TCP, where both look around", {"rtt", "ours", "p50"}, {NULL, "raw", NULL}, 0, '<', 1.10,
     AWAKE_BOUND},
    {"ping, 99 %, under an upload, of 3 ms", {"rtt-load", "ours", "p99"}, {NULL, NULL, NULL}, 3000, '<', 1,
     "bytes that the kernel has taken cannot be overtaken"},

    {"32 B over 100 connections, of raw io_uring", {"rr-32-100", "ours", "rate"}, {NULL, "raw", NULL}, 0, '>', 0.70,
     REQUEST_BOUND},
    {"32 B over 100 connections, of raw io_uring with the cipher", {"rr-32-100", "ours", "rate"},
     {NULL, "raw-aead", NULL}, 0, '>', 0.85, REQUEST_BOUND},
    {"32 B over 100 connections, against go", {"rr-32-100", "ours", "rate"}, {NULL, "go", NULL}, 0, '>', 1.9,
     REQUEST_BOUND},
    {"32 B over 100 connections, against rust", {"rr-32-100", "ours", "rate"}, {NULL, "rust", NULL}, 0, '>', 1.9,
     REQUEST_BOUND},
    {"1 KB over 100 connections, of raw io_uring with the cipher", {"rr-1k-100", "ours", "rate"},
     {NULL, "raw-aead", NULL}, 0, '>', 0.85, REQUEST_BOUND},
    {"1 KB over 100 connections, against go", {"rr-1k-100", "ours", "rate"}, {NULL, "go", NULL}, 0, '>', 1.8,
     REQUEST_BOUND},
    {"10,000 connections instead of 100", {"rr-32-10000", "ours", "rate"}, {"rr-32-100", "ours", NULL}, 0, '>', 0.9,
     "the caches hold some thousand connections: plain C on io_uring loses as much or more there, in the kernel's TCP "
     "path, which is three quarters of the listener's CPU"},
    {"system calls of a 1 KB message, where it is answered", {"rr-1k-100", "ours", "listener_calls"},
     {NULL, NULL, NULL}, 0.1, '<', 1, TURN_BOUND},
    {"system calls of a 1 KB message, where it is sent", {"rr-1k-100", "ours", "dialler_calls"}, {NULL, NULL, NULL},
     0.1, '<', 1, TURN_BOUND},

    {"new streams, 32 at a time, against go", {"streams-32", "ours", "rate"}, {NULL, "go", NULL}, 0, '>', 5,
     STREAMS_BOUND},
    {"new streams, 32 at a time, against rust", {"streams-32", "ours", "rate"}, {NULL, "rust", NULL}, 0, '>', 5,
     STREAMS_BOUND},
    {"new streams, one at a time, against go", {"streams-1", "ours", "rate"}, {NULL, "go", NULL}, 0, '>', 2,
     WAKE_BOUND},

    {"a message on the same worker, of 30 ns", {"msg", "ours", "message, same worker"}, {NULL, NULL, NULL}, 30, '<', 1,
     NULL},
    {"a message to a running worker, of 100 ns", {"msg", "ours", "message, to a running worker"}, {NULL, NULL, NULL},
     100, '<', 1, "the cache line of a message moves from core to core"},
    {"CPU of a 32 B request with two workers, of one", {"rr-32-100", "ours-2w", "cpu"}, {NULL, "ours", NULL}, 0, '<',
     1.1, "two workers find less to do in each turn, and share the two cores with the other side"},
    {"CPU of bulk with two workers, of one", {"bulk-up", "ours-2w", "cpu"}, {NULL, "ours", NULL}, 0, '<', 1.1,
     STREAM_BOUND},
};

/* The ratios of those that are always missed: a collapse is one of these. */
static const struct {
    const char *target;
    double ratio;
} usual[] = {
    {"bulk, one stream, against js", 2.4},
    {"connects of new peers, 50 at a time, against rust", 2.2},
    {"ping, median, of plain TCP, where both look around", 1.5},
    {"10,000 connections instead of 100", 0.65},
};

static double usual_of(const struct target *target)
{
    for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); i++) {
        if (strcmp(usual[i].target, target->text) == 0)
            return usual[i].ratio;
    }
    return target->wanted;
}

static double median_of(const json_t *results, const struct place *place)
{
    return results_median(results, place->row, place->program, place->program, place->figure);
}

/* Whether other load was in most runs. */
static bool is_disturbed(const json_t *results, const struct place *place)
{
    const json_t *series = results_find_series(results_find_row(results, place->row), place->program, place->program);
    const json_t *all = json_object_get(series, "disturbed"), *one;
    size_t index, count = 0;

    json_array_foreach (all, index, one)
        count += json_is_true(one);
    return count * 2 > json_array_size(all);
}

/* Who was busy while ours was measured: the nearer to a whole core, the more it
 * is that side's CPU that bounds the figure. */
static void describe_bound(const json_t *results, const struct target *target, char *out, size_t size)
{
    struct place dialler = target->ours, listener = target->ours;
    double dialling, listening;

    dialler.figure = "dialler_cores";
    listener.figure = "listener_cores";
    dialling = median_of(results, &dialler);
    listening = median_of(results, &listener);
    *out = '\0';
    if (is_disturbed(results, &target->ours)) {
        snprintf(out, size, "other programs had a part of the machine: measure again when they are gone");
        return;
    }
    if (isfinite(dialling) && isfinite(listening))
        snprintf(out, size, "measured with %.2f cores busy dialling and %.2f listening", dialling, listening);
    if (target->bound != NULL)
        snprintf(out + strlen(out), size - strlen(out), "%s%s", *out != '\0' ? ": " : "", target->bound);
}

/* What has been found out about a target. */
struct finding {
    const char *target;
    struct place ours;
    const char *against;
    double value, reference, ratio, wanted, usual;
    char sign;
    const char *bound;
};

static bool is_met(const struct finding *finding)
{
    return finding->sign == '>' ? finding->ratio >= finding->wanted : finding->ratio <= finding->wanted;
}

static void add_finding(json_t *out, const struct finding *finding)
{
    json_array_append_new(
        out, json_pack("{s:s, s:s, s:s, s:s, s:s, s:f, s:f, s:f, s:s, s:f, s:f, s:b, s:b, s:s}", "target",
                       finding->target, "row", finding->ours.row, "program", finding->ours.program, "figure",
                       finding->ours.figure, "against", finding->against, "value", finding->value, "reference",
                       finding->reference, "ratio", finding->ratio, "sign", finding->sign == '>' ? ">=" : "<=",
                       "wanted", finding->wanted, "usual", finding->usual, "met", is_met(finding), "checked",
                       plan_find(finding->ours.row)->work != PLAN_PART, "bound", finding->bound));
}

static void evaluate(json_t *results, json_t *out, const struct target *target)
{
    struct place against = target->against;
    struct finding found = {.target = target->text, .ours = target->ours, .value = median_of(results, &target->ours),
                            .against = against.program != NULL ? against.program : "", .wanted = target->wanted,
                            .usual = usual_of(target), .sign = target->sign};
    char bound[512] = "";

    if (against.row == NULL)
        against.row = target->ours.row;
    if (against.figure == NULL)
        against.figure = target->ours.figure;
    found.reference = against.program != NULL ? median_of(results, &against) : target->value;
    found.ratio = found.value / found.reference;
    if (!isfinite(found.ratio))
        return;
    if (!is_met(&found))
        describe_bound(results, target, bound, sizeof(bound));
    found.bound = bound;
    add_finding(out, &found);
}

/* ---- epoll ------------------------------------------------------------------------------ */

/* It may cost a quarter, in any row of work.  The report
 * has one line of it: of the row where it costs most. */
struct epoll {
    const json_t *results;
    struct finding worst;
    double slack;       /* of the worst; below 1 it costs more than it may */
    unsigned figures, below;
    char names[512];    /* of those below */
};

static void compare_epoll(struct epoll *epoll, const char *row, const char *figure, bool more)
{
    struct place ours = {row, "ours", figure}, other = {row, "ours-epoll", figure};
    struct finding found = {.ours = other, .against = "ours", .value = median_of(epoll->results, &other),
                            .reference = median_of(epoll->results, &ours), .sign = more ? '>' : '<',
                            .wanted = more ? 0.75 : 1.25};
    size_t length = strlen(epoll->names);
    double slack;

    found.ratio = found.value / found.reference;
    slack = more ? found.ratio / found.wanted : found.wanted / found.ratio;
    if (!isfinite(slack))
        return;
    epoll->figures++;
    if (slack < 1) {
        epoll->below++;
        snprintf(epoll->names + length, sizeof(epoll->names) - length, "%s%s %s %.2f", length > 0 ? ", " : "", row,
                 figure, found.ratio);
    }
    if (slack >= epoll->slack)
        return;
    epoll->slack = slack;
    epoll->worst = found;
}

static void compare_epoll_row(struct epoll *epoll, const struct plan_row *row)
{
    if (row->work == PLAN_IDLE)
        return; /* what is kept, and a keep-alive now and then: no driver is quicker at that */
    if (row->rate > 0) { /* how many it does is given */
        compare_epoll(epoll, row->name, "p50", false);
    } else {
        compare_epoll(epoll, row->name, "rate", true);
    }
}

static void evaluate_epoll(const json_t *results, json_t *out)
{
    struct epoll epoll = {.results = results, .slack = INFINITY};
    const struct plan_row *rows;
    size_t count = plan_rows(&rows);
    char target[160], bound[640] = "";

    for (size_t i = 0; i < count; i++) {
        if (rows[i].pairs & PLAN_EPOLL)
            compare_epoll_row(&epoll, &rows[i]);
    }
    if (epoll.figures == 0)
        return;
    snprintf(target, sizeof(target), "epoll, of io_uring: the worst of %u figures (%s, %s)", epoll.figures,
             epoll.worst.ours.row, epoll.worst.ours.figure);
    if (epoll.below > 0)
        snprintf(bound, sizeof(bound), "epoll takes a system call for each read and write; %u below: %s", epoll.below,
                 epoll.names);
    epoll.worst.target = target;
    epoll.worst.usual = epoll.worst.wanted;
    epoll.worst.bound = bound;
    add_finding(out, &epoll.worst);
}

size_t targets_count(void)
{
    return sizeof(targets) / sizeof(targets[0]) + 1;
}

void targets_evaluate(json_t *results)
{
    json_t *out = json_array();

    for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++)
        evaluate(results, out, &targets[i]);
    evaluate_epoll(results, out);
    json_object_set_new(results, "targets", out);
}

bool targets_hold(const json_t *results, double factor, struct targets_text *error)
{
    const json_t *all = json_object_get(results, "targets"), *target;
    bool hold = true;
    size_t index;

    error->text[0] = '\0';
    json_array_foreach (all, index, target) {
        const char *usually = json_object_get(target, "usual") != NULL ? "usual" : "wanted"; /* of an older run */
        double ratio = results_number(target, "ratio"), expected = results_number(target, usually);
        bool least = strcmp(results_string(target, "sign"), ">=") == 0;
        size_t length = strlen(error->text);

        if (!json_is_true(json_object_get(target, "checked")) ||
            (least ? ratio >= expected / factor : ratio <= expected * factor))
            continue;
        snprintf(error->text + length, sizeof(error->text) - length,
                 "%s%s: %.3g, where %.3g is usual, and %s %.3g wanted", length > 0 ? "\n" : "",
                 results_string(target, "target"), ratio, expected,
                 results_string(target, "sign"), results_number(target, "wanted"));
        hold = false;
    }
    return hold;
}
