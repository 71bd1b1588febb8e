#ifndef ACTORS_STREAM_H
#define ACTORS_STREAM_H

#include "actors/app.h"
#include "actors/node.h"
#include "actors/session.h"
#include "actors/slices.h"
#include "actors/waiter.h"
#include "net/multistream.h"
#include "net/yamux.h"

#include <pthread.h>

/* A stream: yamux's state, the bytes on their way in and out, and who uses it.
 * It has up to three holders, counted in `refs`: its session while the muxer
 * knows it, the application while it has the handle, and messages under way. */

struct session;

enum stream_flags {
    STREAM_INLINE = 1 << 0,
    STREAM_OUTBOUND = 1 << 1,
    STREAM_OPTIMISTIC = 1 << 2,   /* ours, the echo of the protocol is still to come */
    STREAM_OPENED = 1 << 3,       /* the application knows it */
    STREAM_HANDLE = 1 << 4,       /* the application holds it */
    STREAM_FIN_RECEIVED = 1 << 5,
    STREAM_FIN_QUEUED = 1 << 6,   /* close_write was called; the muxer may hear of it later */
    STREAM_WANT_WRITE = 1 << 7,   /* a write was cut short */
    STREAM_READY = 1 << 8,        /* on the session's ready list */
    STREAM_READABLE = 1 << 9,     /* what its callback is to hear of */
    STREAM_WRITABLE = 1 << 10,
    STREAM_FAILED = 1 << 11,      /* `error` is set; the callback has not heard yet, if READY */
    STREAM_LINGERING = 1 << 12,   /* given up by the application, waiting for the peer's end */
    STREAM_NEGOTIATING = 1 << 13, /* on the session's list of those with a deadline */
    STREAM_PENDING = 1 << 14,     /* waits for the backlog to open */
    STREAM_TOLD_FAILED = 1 << 15, /* and the application has heard */
    STREAM_TELL_OPENED = 1 << 16,
    STREAM_TELL_FIN = 1 << 17,
    STREAM_WRITTEN = 1 << 18,     /* the application has sent bytes */
    STREAM_TIMED = 1 << 19,       /* the time for the negotiation is for all of it */
};

enum stream_limits {
    STREAM_LINGER_NS_MAX = 10000000000ull, /* a peer that never ends its side is reset after this; ours */
    STREAM_FIRST_SEND_BYTES_MAX = 65536,   /* written before the worker has said what there is room for; ours */
};

/* The part of an EVENT stream that the application's threads touch. */
struct stream_shared {
    pthread_mutex_t lock;
    pthread_cond_t changed;     /* for the blocking calls; CLOCK_MONOTONIC */
    struct slices recv;         /* given to the application, not yet read */
    struct slices send;         /* written, not yet taken by the worker */
    uint64_t consumed;          /* read since the worker last looked */
    uint64_t send_bytes;        /* written and not yet on the wire */
    uint64_t send_max;          /* how many that may be; the worker's word */
    int error;                  /* what ends reading once recv is empty; 0 while open */
    int write_error;
    uint32_t reset_code;        /* ours, with reset_wanted */
    uint32_t peer_code;
    bool kicked;                /* a message to the worker is under way */
    bool detached;              /* its session has let go: there is nothing to tell the worker */
    bool close_write, close, reset_wanted, want_write;
};

/* A buffer in the application's hands. */
struct p2p_buffer {
    struct buffer *buffer;
    struct p2p_stream *stream; /* lent by its read; a reference */
    struct lender *lender;     /* counts it */
    uint32_t offset;
    uint32_t length;
};

struct p2p_stream {
    struct yamux_stream mux; /* first: yamux's events lead here */
    struct session *session; /* NULL before it is opened and after the connection's end; worker only */
    struct p2p_node *node;
    struct worker *worker;   /* NULL until it has one */
    struct actor_ref session_ref;
    struct p2p_stream *next, *previous; /* the session's list */
    struct p2p_stream *ready_next;
    /* Negotiating or lingering, oldest first; before the oldest stands the youngest. */
    struct p2p_stream *deadline_next, *deadline_previous;
    struct p2p_stream *pending_next;    /* waiting for the backlog to open, in a ring */
    struct slices recv;
    struct slices send;
    struct multistream *negotiation;
    struct stream_shared *shared; /* EVENT streams */
    struct waiter *opener;        /* who waits for it to open */
    struct p2p_stream_callbacks callbacks;
    void *user;
    const char *protocol;         /* agreed on; the node's, or in `names` */
    char *names;                  /* our proposals, one block: pointers, then texts */
    uint16_t name_count;
    uint16_t guess;               /* the proposal identify has told us of, or name_count */
    uint32_t flags;
    uint32_t refs;                /* atomic */
    uint32_t held;                /* bytes received and not yet read, or read and not yet given back */
    uint32_t lent;                /* of them, those in buffers that the application has; shared->lock's, if any */
    uint32_t left;                /* bytes counted in `left_in` */
    struct memory *left_in;       /* once its session has let go of it: the node's */
    uint32_t peer_code;
    int error;
    uint64_t deadline_ns;
    struct peer_id peer;
    struct app_ready ready;
    struct app_held handle;       /* while the application has it */
};

static inline struct p2p_stream *stream_of(struct yamux_stream *mux)
{
    return (struct p2p_stream *)(void *)mux;
}

static inline bool stream_on_worker(const struct p2p_stream *stream)
{
    return worker_current() == stream->worker;
}

/* A new one with one reference, of the running worker's cache or the heap. */
struct p2p_stream *stream_new(struct p2p_node *node);
struct stream_shared *stream_shared_new(void);
struct p2p_stream *stream_ref(struct p2p_stream *stream);
void stream_unref(struct p2p_stream *stream);
/* Copies the names, 1 to P2P_PROTOCOLS_MAX.  0 or P2P_ERR_CALL_NOMEM. */
int stream_set_names(struct p2p_stream *stream, const char *const *names, size_t count);
const char *const *stream_names(const struct p2p_stream *stream);
/* Has its worker look at the shared part; shared->lock is held. */
void stream_kick(struct p2p_stream *stream);

/* On its worker, an INLINE stream: why there is nothing to read, or no write. */
int stream_read_end(const struct p2p_stream *stream);
int stream_write_check(const struct p2p_stream *stream);
/* An EVENT stream: why no byte can be written; its lock is held. */
int stream_shared_check(const struct stream_shared *shared);
/* On its worker: the application has not closed it. */
bool stream_is_held(struct p2p_stream *stream);

/* What the application's threads send to a stream's worker.  Whoever receives
 * it sets `taken`.  What nobody takes, because the connection has ended, calls
 * its function on that worker all the same. */
struct stream_mail {
    struct p2p_stream *stream;
    void (*function)(struct p2p_stream *stream, void *argument); /* may be NULL */
    void *argument;
    bool always;       /* also when the application holds the stream no more */
    bool session_only; /* and there is nothing to do when its session has gone */
    bool taken;
};

/* Sends `mail`, which is copied, to the stream's session as a message of that
 * type; the stream's reference is added.  0, P2P_ERR_CALL_NOMEM, or
 * P2P_ERR_CALL_FULL for SESSION_MSG_OPEN_STREAM. */
int stream_mail_post(const struct stream_mail *mail, unsigned type);
/* Takes it out of a message: its reference still goes with the message. */
void stream_mail_take(struct stream_mail *out, struct message *message);
void stream_mail_run(const struct stream_mail *mail);

/* The rest of calls that began on another thread; for p2p_stream_run(). */
void stream_lent_back(struct p2p_stream *stream, void *bytes);
void stream_end_close(struct p2p_stream *stream, void *code);
void stream_end_reset(struct p2p_stream *stream, void *code);

/* The application's reference goes with its node: nothing else touches it. */
void stream_drop(struct p2p_stream *stream);

/* The session's side, worker only. */
void stream_deliver(struct p2p_stream *stream, struct buffer *buffer, uint32_t offset, uint32_t length);
void stream_deliver_fin(struct p2p_stream *stream);
/* It could not be opened, and its session will not say so. */
void stream_not_opened(struct p2p_stream *stream, int error);
/* Ends it for the application: reset by the peer (`peer_code`), or its
 * connection has ended. */
void stream_fail(struct p2p_stream *stream, int error, uint32_t peer_code);
/* What it has not read is dropped, after stream_fail(). */
void stream_drop_unread(struct p2p_stream *stream);
/* Its connection is about to end: what is queued still goes out, but no more is
 * taken. */
void stream_stop_writing(struct p2p_stream *stream, int error);
/* Its session lets go of it: what the application may still read, or has in
 * buffers, counts in the node's memory until the stream's last holder is gone.
 * What there is no room for is dropped. */
void stream_leave(struct p2p_stream *stream);
/* It is open: the application hears of it. */
void stream_opened(struct p2p_stream *stream);
/* `bytes` more wait in `send`. */
void stream_written(struct p2p_stream *stream, uint64_t bytes);
/* FIN after what is there. */
void stream_write_closed(struct p2p_stream *stream);
/* `bytes` were put on the wire. */
void stream_sent(struct p2p_stream *stream, uint64_t bytes);
/* What the application has done with the shared part since last time. */
void stream_absorb(struct p2p_stream *stream);
/* Its session lets go of it: what is queued is dropped. */
void stream_detach(struct p2p_stream *stream);
/* The application has let go of it (close), or wants it reset. */
void stream_released(struct p2p_stream *stream);
void stream_reset_by_us(struct p2p_stream *stream, uint32_t code);
/* Calls the callbacks that are due, or hands over what the application's
 * threads are to see. */
void stream_run_callbacks(struct p2p_stream *stream);

#endif
