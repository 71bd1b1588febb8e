#ifndef BENCH_AGENT_H
#define BENCH_AGENT_H

#include "side.h"

#include <assert.h>

/* A run over two machines: `run --server` is an agent that starts listeners on its
 * machine for `run --client ADDR` on another one.  A connection whose first line
 * is `start NAME CPU` is that program, pinned where CPU is not -1: the agent
 * answers `agent NUMBER`, and from then on the lines are the program's own, both
 * ways, until either end closes.  One whose first line is `usage NUMBER` answers
 * each further line with what the program has used, and ends the program with
 * itself; a second one for the same program is closed.  `machine` is answered with
 * a line of JSON, the facts of machine.h.  Nobody who is silent or slow keeps
 * others waiting.  There is no security: the network must be trusted. */

enum agent_limits {
    AGENT_PORT = 4040,
    AGENT_PROGRAMS_MAX = 64,  /* at a time */
    AGENT_CONNECTIONS_MAX = 128, /* that are no program's; more wait in the kernel */
    AGENT_LINE_BYTES_MAX = 256,
    AGENT_FACTS_BYTES_MAX = 4096,
    AGENT_LINE_S_MAX = 10,    /* for the whole first line of a connection, and for an answer */
    AGENT_KEEP_ALIVE_S = 30,  /* of silence, then the kernel asks whether the client is there */
};

static_assert(AGENT_CONNECTIONS_MAX >= 2 * AGENT_PROGRAMS_MAX, "those who ask leave room for first lines");

/* Serves on IPv4 and IPv6 until it is interrupted; returns only when it cannot
 * listen, having said why.  Programs listen on the address at which the client has
 * found us: one that knows IPv4 only says so to those who came otherwise. */
void agent_serve(const struct side_spec *specs, size_t count, unsigned port);

/* Starts side->spec->name through side->spec->agent. */
bool agent_start(struct side *side, struct side_text *error);
/* What its machine is: the caller's, or NULL with the reason. */
json_t *agent_machine(const char *agent, struct side_text *error);
bool agent_usage(struct side *side, struct side_usage *out, struct side_text *error);

#endif
