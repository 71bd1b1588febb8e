#ifndef ACTORS_DIAL_H
#define ACTORS_DIAL_H

#include "actors/dialer.h"
#include "actors/session.h"

/* A dial under way, for the dialer alone: who waits for it, which addresses are
 * tried in what order, and which of its failures is told.  It sends nothing. */

/* One call that waits for a dial. */
struct dial_request {
    struct dial_request *next;
    struct waiter *waiter;
    struct multiaddr address;
    uint64_t deadline_ns;
};

struct dial_candidate {
    struct multiaddr address;
    bool tried;
};

enum dial_permit { DIAL_PERMIT_NONE, DIAL_PERMIT_ASKED, DIAL_PERMIT_HELD };

struct dial_pending; /* the dialer's */

struct dial {
    struct dial *next, *previous;
    struct peer_id id;
    struct dial_request *requests;
    struct dial_pending *pending;      /* answers that it waits for */
    struct dial_candidate *candidates; /* heap */
    unsigned candidate_count, candidate_capacity;
    unsigned attempts;                 /* under way */
    unsigned questions;                /* asked of the resolver */
    bool last_was_v6;
    enum dial_permit permit;
    uint32_t permit_request;
    uint64_t next_ns;                  /* when the next address is tried */
    int error;                         /* the most telling failure, and its sentence */
    struct p2p_error_text text;
};

/* One more address to try, unless it is there already.  Beyond
 * DIALER_CANDIDATES_MAX, and when memory is out, it is left out. */
void dial_add(struct dial *dial, const struct multiaddr *address);
/* The address to try next, or NULL: of the other family than the last, IPv6
 * first (RFC 8305, 4). */
struct dial_candidate *dial_next(struct dial *dial);
/* It is tried now: fills what the session is to be told.  0, or
 * P2P_ERR_CALL_NOT_FOUND: this machine does not have the interface it names. */
int dial_take(struct session_dial *out, struct dial *dial, struct dial_candidate *candidate);

/* Of several failures the one that says most is kept.  `why` may be NULL: then
 * dial_remedy(). */
void dial_failed(struct dial *dial, const struct multiaddr *address, int error, const char *why);
/* What to do about an error of a dial; never NULL. */
const char *dial_remedy(int error);
/* The sentence: the address with its peer, and why. */
void dial_say(struct p2p_error_text *out, const struct dial *dial, const struct multiaddr *address, const char *why);

#endif
