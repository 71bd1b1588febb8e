#include "tests/sim/sim.h"

#include "actors/registry.h"
#include "actors/session_state.h"
#include "runtime/inner.h"
#include "runtime/sim_inner.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

/* NOLINTBEGIN(bugprone-reserved-identifier): the linker's names, of --wrap */

/* Both ends of a connection.  Each session that was open tells the registry once
 * why it ended: the linker leads that call here first.  When nothing was wrong with
 * the link and the hosts, both must say the same: what one decided, the other heard
 * in a GoAway.  And who closes in order has said before what its streams had to
 * say: what an application had written by then, the other one has read. */

enum { ENDS_MAX = 1024 }; /* of which one end is known; older ones are forgotten */

#define QUIET_NS (150 * SIM_SECOND) /* after trouble a silent peer is found out in less */

struct end {
    uint64_t connection; /* who dialled, and from which port; 0: none */
    uint64_t at_ns;
    struct sim_node *node;
    int error;
};

struct debt { /* of one stream */
    uint64_t wire; /* the same at both ends; 0: none */
    uint64_t at_ns;
    struct sim_node *node;
    uint64_t owed, got;
    bool debtor;
};

struct ends {
    struct end waiting[ENDS_MAX];
    struct debt debts[ENDS_MAX];
    unsigned count, debt_count;
};

static struct ends *ends_of(struct sim *sim)
{
    if (!sim->ends)
        sim->ends = memset(reallocarray(NULL, 1, sizeof(*sim->ends)), 0, sizeof(*sim->ends));
    return sim->ends;
}

void sim_ends_free(struct sim *sim)
{
    free(sim->ends);
}

static struct sim_node *owner_of(struct sim *sim, const struct p2p_node *node)
{
    for (unsigned i = 0; i < sim->what.nodes; i++)
        if (sim->nodes[i].process && sim->nodes[i].process->node == node)
            return &sim->nodes[i];
    return NULL;
}

/* Links that lose nothing, and hosts that neither were stopped nor went down. */
static bool was_up(const struct sim *sim, const struct sim_node *node, uint64_t at_ns)
{
    const uint32_t links = FAULT_STALL | FAULT_RESET | FAULT_PARTITION | FAULT_HOLE;

    return !(sim->what.faults & links) && !node->frozen &&
           (node->trouble_ns == 0 || at_ns > node->trouble_ns + QUIET_NS);
}

static bool is_orderly(int error)
{
    return error == P2P_ERR_CONN_CLOSED || error == P2P_ERR_NODE_CLOSING;
}

/* What the one decided, and how that looks from the other end. */
static bool agree(int here, int there)
{
    if (is_orderly(here) && is_orderly(there))
        return true;
    if (here == P2P_ERR_CONN_GOAWAY)
        return there == P2P_ERR_CONN_LIMIT || there == P2P_ERR_CALL_NOMEM || there == P2P_ERR_NODE_CLOSING;
    return false;
}

static void compare(struct sim *sim, const struct end *first, const struct end *second)
{
    if (!was_up(sim, first->node, first->at_ns) || !was_up(sim, second->node, second->at_ns))
        return;
    sim->agreed++;
    if (!agree(first->error, second->error) && !agree(second->error, first->error))
        sim_fail(sim, second->node, "one reason", "a connection to node %u ended with %s here, and %s there",
                 first->node->index, p2p_error_name(second->error), p2p_error_name(first->error));
}

static void note_end(struct sim *sim, const struct end *end)
{
    struct ends *ends = ends_of(sim);

    for (unsigned i = 0; i < ENDS_MAX; i++) {
        struct end *other = &ends->waiting[i];

        if (other->connection != end->connection || other->node == end->node)
            continue;
        other->connection = 0;
        compare(sim, other, end);
        return;
    }
    ends->waiting[ends->count++ % ENDS_MAX] = *end;
}

static uint64_t connection_of(const struct session *session)
{
    struct sockaddr_storage local = {0}, remote = {0};
    const struct sockaddr_in *dialler = (struct sockaddr_in *)(session->flags & SESSION_INITIATOR ? &local : &remote);

    if (session->socket < 0)
        return 0;
    (void)driver_names(session->local->driver, session->socket, &local, &remote);
    return (uint64_t)dialler->sin_addr.s_addr << 16 | dialler->sin_port;
}

/* ---- what was said before -------------------------------------------------------- */

uint64_t sim_ends_wire(const struct p2p_stream *stream)
{
    uint64_t connection = stream->session ? connection_of(stream->session) : 0;

    return connection ? (connection ^ (uint64_t)stream->mux.id << 48) | 1 : 0;
}

static void settle(struct sim *sim, const struct debt *debtor, const struct debt *other)
{
    const uint32_t tight = FAULT_MEMORY; /* a shed connection drops what it holds */

    if ((sim->what.faults & tight) || !was_up(sim, other->node, other->at_ns) ||
        other->node->state != NODE_UP || debtor->owed > YAMUX_WINDOW_BYTES_MIN)
        return;
    sim->settled++;
    if (other->got < debtor->owed)
        sim_fail(sim, other->node, "goodbye", "node %u had written %llu bytes when it closed in order, and %llu came",
                 debtor->node->index, (unsigned long long)debtor->owed, (unsigned long long)other->got);
}

static void note_debt(struct sim *sim, const struct debt *debt)
{
    struct ends *ends = ends_of(sim);

    for (unsigned i = 0; debt->wire && i < ENDS_MAX; i++) {
        struct debt *other = &ends->debts[i];

        if (other->wire != debt->wire || other->debtor == debt->debtor)
            continue;
        other->wire = 0;
        settle(sim, debt->debtor ? debt : other, debt->debtor ? other : debt);
        return;
    }
    if (debt->wire)
        ends->debts[ends->debt_count++ % ENDS_MAX] = *debt;
}

void sim_ends_owed(struct sim_node *node, uint64_t wire, uint64_t bytes)
{
    note_debt(node->sim, &(struct debt){.wire = wire, .at_ns = sim_now(node->sim), .node = node, .owed = bytes,
                                        .debtor = true});
}

void sim_ends_got(struct sim_node *node, uint64_t wire, uint64_t bytes)
{
    note_debt(node->sim, &(struct debt){.wire = wire, .at_ns = sim_now(node->sim), .node = node, .got = bytes});
}

/* ---- why it ended ---------------------------------------------------------------- */

void __real_registry_remove(struct registry *registry, struct registry_connection *connection, int error,
                            const struct p2p_error_text *why);
void __wrap_registry_remove(struct registry *registry, struct registry_connection *connection, int error,
                            const struct p2p_error_text *why);

void __wrap_registry_remove(struct registry *registry, struct registry_connection *connection, int error,
                            const struct p2p_error_text *why)
{
    struct sim *sim = sim_current;
    struct worker *worker = worker_current();
    struct session *session = sim && worker ? ((struct local *)worker->local)->sessions : NULL;
    struct end end = {.error = error};

    while (session && &session->entry != connection)
        session = session->next;
    if (session) {
        end.connection = connection_of(session);
        end.node = owner_of(sim, session->node);
        end.at_ns = sim_now(sim);
    }
    if (end.node && error == 0)
        sim_fail(sim, end.node, "one reason", "a connection ended without one");
    if (end.node && end.connection)
        note_end(sim, &end);
    __real_registry_remove(registry, connection, error, why);
}

/* NOLINTEND(bugprone-reserved-identifier) */
