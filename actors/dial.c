#include "actors/dial.h"

#include "actors/text.h"

#include <net/if.h>
#include <stdlib.h>
#include <string.h>

/* ---- addresses to try ---- */

static bool is_v6(const struct multiaddr *address)
{
    struct multiaddr_component component;

    return multiaddr_find(address, MULTIADDR_IP6, &component);
}

void dial_add(struct dial *dial, const struct multiaddr *address)
{
    for (unsigned i = 0; i < dial->candidate_count; i++)
        if (multiaddr_equal(&dial->candidates[i].address, address))
            return;
    if (dial->candidate_count == DIALER_CANDIDATES_MAX)
        return;
    if (dial->candidate_count == dial->candidate_capacity) {
        unsigned capacity = dial->candidate_capacity ? dial->candidate_capacity * 2 : 1;
        struct dial_candidate *grown = realloc(dial->candidates, capacity * sizeof(*grown));
        if (!grown)
            return;
        dial->candidates = grown;
        dial->candidate_capacity = capacity;
    }
    dial->candidates[dial->candidate_count++] = (struct dial_candidate){.address = *address};
}

struct dial_candidate *dial_next(struct dial *dial)
{
    struct dial_candidate *any = NULL;

    for (unsigned i = 0; i < dial->candidate_count; i++) {
        struct dial_candidate *candidate = &dial->candidates[i];
        if (candidate->tried)
            continue;
        if (is_v6(&candidate->address) != dial->last_was_v6)
            return candidate;
        if (!any)
            any = candidate;
    }
    return any;
}

/* As long as anybody waits. */
static uint64_t deadline_of(const struct dial *dial)
{
    uint64_t deadline_ns = 0;

    for (const struct dial_request *request = dial->requests; request; request = request->next)
        if (request->deadline_ns > deadline_ns)
            deadline_ns = request->deadline_ns;
    return deadline_ns;
}

int dial_take(struct session_dial *out, struct dial *dial, struct dial_candidate *candidate)
{
    const struct multiaddr *address = &candidate->address;
    char zone[MULTIADDR_ZONE_SIZE];
    uint32_t zone_index = 0;

    candidate->tried = true;
    dial->last_was_v6 = is_v6(address);
    if (multiaddr_zone(address, zone) == 0)
        zone_index = if_nametoindex(zone);
    memset(out, 0, sizeof(*out));
    out->expected = dial->id;
    out->deadline_ns = deadline_of(dial) + DIALER_GRACE_NS;
    return multiaddr_to_sockaddr(address, &out->address, &out->address_length, zone_index);
}

/* ---- failures ---- */

/* The more an error says, the heavier it is. */
static int weight(int error)
{
    static const int telling[] = {P2P_ERR_CALL_TIMEOUT, P2P_ERR_CONN_UNREACHABLE, P2P_ERR_CONN_TIMEOUT,
                                  P2P_ERR_CONN_REFUSED, P2P_ERR_CONN_LIMIT, P2P_ERR_CONN_CLOSED,
                                  P2P_ERR_CONN_RESET, P2P_ERR_CONN_NEGOTIATION, P2P_ERR_CONN_PROTOCOL,
                                  P2P_ERR_CONN_AUTH, P2P_ERR_CONN_PEER_ID};
    int count = (int)(sizeof(telling) / sizeof(telling[0]));

    for (int i = 0; i < count; i++)
        if (telling[i] == error)
            return i + 1;
    return error ? count : 0;
}

const char *dial_remedy(int error)
{
    switch (error) {
    case P2P_ERR_CONN_REFUSED:
        return "nobody listens there; check address and port, and that the peer runs";
    case P2P_ERR_CONN_UNREACHABLE:
        return "there is no way to it; check the address and this machine's network";
    case P2P_ERR_CONN_TIMEOUT:
    case P2P_ERR_CALL_TIMEOUT:
        return "no answer in time; check the address, and firewalls on the way, or allow more time";
    case P2P_ERR_CONN_PEER_ID:
        return "another peer answers there; ask for the peer's present address or id";
    case P2P_ERR_CONN_AUTH:
        return "whoever answers there could not prove its identity; do not trust that address";
    case P2P_ERR_CONN_NEGOTIATION:
        return "the peer refuses what we propose; both must speak /noise and /yamux/1.0.0, or both have security off";
    case P2P_ERR_CONN_PROTOCOL:
    case P2P_ERR_CONN_FLOW:
        return "what answers there does not speak libp2p; check the port";
    case P2P_ERR_CONN_RESET:
    case P2P_ERR_CONN_CLOSED:
    case P2P_ERR_CONN_GOAWAY:
        return "the peer hung up; it may be full, refuse us, or not speak what we propose; try again later";
    case P2P_ERR_CONN_LIMIT:
        return "this node has as many connections as it may have; close some, or raise its limit";
    case P2P_ERR_NODE_CLOSING:
        return "the node is closing";
    default:
        return p2p_error_string(error);
    }
}

void dial_say(struct p2p_error_text *out, const struct dial *dial, const struct multiaddr *address, const char *why)
{
    struct multiaddr full = *address;
    char text[P2P_ADDRESS_TEXT_BYTES];

    multiaddr_with_peer_id(&full, &dial->id);
    if (multiaddr_to_text(&full, text, sizeof(text)) < 0)
        peer_id_to_text(&dial->id, text);
    text_set(out, "%.330s: %s", text, why);
}

void dial_failed(struct dial *dial, const struct multiaddr *address, int error, const char *why)
{
    if (weight(error) < weight(dial->error))
        return;
    dial->error = error;
    dial_say(&dial->text, dial, address, why ? why : dial_remedy(error));
}
