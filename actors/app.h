#ifndef ACTORS_APP_H
#define ACTORS_APP_H

#include "chorus/p2p.h"

#include <stdbool.h>
#include <stdint.h>

/* The application's end of a node: its events.  Any worker pushes, any thread
 * of the application takes.  Streams have ready bits on a list, each stream at
 * most once; peers' events queue, bounded: beyond APP_EVENTS_MAX the oldest
 * PEER_* events are dropped and counted, events that answer a request never.
 * ADDRESSES_CHANGED waits once, however many changes there were. */

enum app_limits {
    APP_EVENTS_MAX = 65536,    /* PEER_* events waiting: two of each of a full node's connections */
    APP_INCOMING_MAX = 4096,   /* inbound EVENT streams not yet taken; beyond: refused */
};

enum app_stream_bits {
    APP_STREAM_READABLE = 1,
    APP_STREAM_WRITABLE = 2,
    APP_STREAM_FAILED = 4,
};

/* A stream's place on the ready list; zeroed at first, inside the stream. */
struct app_ready {
    struct app_ready *next;
    struct app_ready *previous;
    struct p2p_stream *stream;
    uint32_t bits;
    uint32_t listed;
    int error;
};

/* A stream's place on the list of those that the application holds; zeroed at
 * first, inside the stream. */
struct app_held {
    struct app_held *next;
    struct app_held *previous;
    struct p2p_stream *stream; /* NULL: not on the list */
};

struct app;
struct app_answer;

struct app *app_new(int *error);
void app_free(struct app *app);
/* Has `wake(argument)` called whenever the descriptor becomes readable, under a
 * lock: for a runtime without threads, whose turn waits for something else. */
void app_wake_with(struct app *app, void (*wake)(void *argument), void *argument);
/* Made when it is first asked for: before that nobody waits, and no event costs
 * a system call.  P2P_ERR_NODE_SYSTEM when the process has none left. */
int app_descriptor(struct app *app);
/* Copies the event.  False when an inbound stream finds APP_INCOMING_MAX of
 * them waiting, when NODE_CLOSED was taken, or memory is out. */
bool app_push(struct app *app, const struct p2p_event *event);
/* Room for the event that will answer a request, taken when it is asked: then the
 * answer cannot be lost for want of memory.  NULL when memory is out. */
struct app_answer *app_answer_new(void);
void app_answer_free(struct app_answer *answer);
/* The same as app_push(), with that room, which is gone then. */
void app_push_answer(struct app *app, struct app_answer *answer, const struct p2p_event *event);
void app_stream_ready(struct app *app, struct app_ready *ready, struct p2p_stream *stream, uint32_t bits, int error);
/* Takes a stream off the ready list: nothing about it is told any more. */
void app_stream_forget(struct app *app, struct app_ready *ready);
/* The application has a handle, until it gives it up. */
void app_hold(struct app *app, struct app_held *held, struct p2p_stream *stream);
void app_release(struct app *app, struct app_held *held);
/* Gives up all handles, for the application, with `drop` for each; when nothing
 * else touches the streams any more. */
void app_drop_held(struct app *app, void (*drop)(struct p2p_stream *stream));
/* The oldest event, then what streams are ready, NODE_CLOSED last.  0, or
 * P2P_ERR_CALL_AGAIN. */
int app_next(struct app *app, struct p2p_event *event);
/* PEER_* events that were dropped. */
uint64_t app_dropped(struct app *app);

#endif
