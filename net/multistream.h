#ifndef NET_MULTISTREAM_H
#define NET_MULTISTREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* multistream-select 1.0 (libp2p specs, connections/README.md, "Protocol
 * negotiation"): both roles, without I/O.  The dialer may be optimistic: it
 * sends its header, its one choice and the first payload together, and checks
 * the echo when it comes.  The listener answers the header before or after it
 * has read the dialer's, `ls`, and refuses with `na` as often as the peer asks,
 * up to a bound.  Bytes past the negotiation are left untaken.
 *
 * A token on the wire is a varint length, that many bytes, and the last of
 * them is a newline.  Both sides start with the token /multistream/1.0.0. */

enum multistream_limits {
    MULTISTREAM_NAME_BYTES_MAX = 1024,     /* with its newline; go and js: longer tokens are refused */
    MULTISTREAM_TOKEN_BYTES_MAX = 1026,    /* the longest token with its length: the most one send needs */
    MULTISTREAM_INLINE_BYTES = 64,         /* a token that is cut is kept here, a longer one on the heap */
    MULTISTREAM_PROPOSALS_MAX = 128,       /* proposals a dialer may make on one stream, `ls` counted; ours */
};

enum multistream_event_type {
    MULTISTREAM_EVENT_NONE,     /* all bytes taken, not done; or done, and the rest is payload */
    MULTISTREAM_EVENT_PROPOSED, /* listener: `name`: multistream_accept() or _refuse() before the next recv */
    MULTISTREAM_EVENT_LIST,     /* listener: `ls`: multistream_list() or multistream_refuse() */
    MULTISTREAM_EVENT_CHOSEN,   /* dialer: protocol number `index` was echoed; what follows is its payload */
    MULTISTREAM_EVENT_REFUSED,  /* dialer: none of ours was taken */
};

struct multistream_event {
    enum multistream_event_type type;
    const char *name; /* not terminated; inside the caller's bytes or the machine, until the next call */
    size_t name_length;
    unsigned index;
};

struct multistream {
    const char *const *names; /* dialer: what we propose, the caller's, in order of preference */
    const char *accepted;     /* listener: what is to be echoed, the caller's */
    const char *const *list;  /* listener: the answer to `ls`, the caller's until it is sent */
    uint8_t *heap;            /* a long cut token */
    uint16_t name_count, list_count;
    uint16_t index;           /* dialer: the proposal under way */
    uint16_t proposals;       /* listener: made so far */
    uint16_t filled;          /* bytes of a cut token */
    uint16_t flags;
    uint8_t refusals;         /* `na` waiting to be sent */
    uint8_t refusals_late;    /* `na` waiting to be sent after the list */
    uint8_t cut[MULTISTREAM_INLINE_BYTES];
};

/* `names` stays the caller's until done: 1 to 65,535 names of 1 to 1,023 bytes (asserted). */
void multistream_init_dialer(struct multistream *ms, const char *const *names, unsigned name_count);
void multistream_init_listener(struct multistream *ms);
void multistream_fini(struct multistream *ms);

/* One event a call; call again with the rest until the event is NONE.  After
 * PROPOSED, once accepted, and after CHOSEN and REFUSED, nothing more is taken.
 * 0, P2P_ERR_STREAM_PROTOCOL (malformed, too long, too many proposals) or
 * P2P_ERR_CALL_NOMEM: reset the stream. */
int multistream_recv(struct multistream *ms, const uint8_t *data, size_t length, size_t *taken,
                     struct multistream_event *event);
/* After PROPOSED.  `name` (terminated, the caller's until done) is echoed; then
 * the listener is done. */
void multistream_accept(struct multistream *ms, const char *name);
void multistream_refuse(struct multistream *ms);
/* After LIST.  As many names are told as fit into one token. */
void multistream_list(struct multistream *ms, const char *const *names, unsigned count);

/* What there is to say now: as many whole tokens as fit; call again until
 * *written is 0.  0, or P2P_ERR_CALL_SHORT when `capacity` has no room for the
 * next token (MULTISTREAM_TOKEN_BYTES_MAX is always enough for one). */
int multistream_send(struct multistream *ms, uint8_t *out, size_t capacity, size_t *written);
bool multistream_wants_send(const struct multistream *ms);
/* Negotiated: the listener has accepted and said so, or the dialer has read the echo. */
bool multistream_done(const struct multistream *ms);
/* The dialer has proposed its last protocol: payload may follow at once
 * (optimistic sending), to be thrown away if REFUSED comes. */
bool multistream_optimistic(const struct multistream *ms);

#endif
