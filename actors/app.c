#include "actors/app.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* An event as it waits: without the unused room of its texts. */
struct entry {
    struct entry *next;
    struct entry *previous;
    struct entry *next_peer;
    uint8_t type;
    uint8_t id_length;
    uint16_t text_length;
    int error;
    uint64_t request;
    struct p2p_stream *stream;
    char bytes[]; /* id, text */
};

struct app {
    pthread_mutex_t mutex;
    int descriptor;
    void (*wake)(void *argument);
    void *wake_argument;
    bool signalled; /* the descriptor is readable */
    bool closed;    /* NODE_CLOSED: told when nothing else waits */
    bool changed;   /* an ADDRESSES_CHANGED waits: it tells of all changes until it is taken */
    bool ended;     /* it was told */
    uint32_t peers_waiting;
    uint32_t incoming_waiting;
    uint64_t dropped;
    struct entry *head, *tail;
    struct entry *peer_head, *peer_tail; /* the PEER_* among them, by next_peer */
    struct app_ready *ready_head, *ready_tail;
    struct app_held *held;
};

struct app *app_new(int *error)
{
    struct app *app = calloc(1, sizeof(*app));

    if (!app) {
        *error = P2P_ERR_CALL_NOMEM;
        return NULL;
    }
    app->descriptor = -1;
    pthread_mutex_init(&app->mutex, NULL);
    return app;
}

static bool is_peer_event(enum p2p_event_type type)
{
    return type == P2P_EVENT_PEER_CONNECTED || type == P2P_EVENT_PEER_IDENTIFIED ||
           type == P2P_EVENT_PEER_DISCONNECTED;
}

static void unlink_entry(struct app *app, struct entry *entry)
{
    *(entry->previous ? &entry->previous->next : &app->head) = entry->next;
    *(entry->next ? &entry->next->previous : &app->tail) = entry->previous;
    if (!is_peer_event(entry->type))
        return;
    /* Peers' events leave in their order: this one is the first of them. */
    assert(app->peer_head == entry);
    app->peer_head = entry->next_peer;
    if (!app->peer_head)
        app->peer_tail = NULL;
    app->peers_waiting--;
}

static void link_entry(struct app *app, struct entry *entry)
{
    entry->previous = app->tail;
    *(app->tail ? &app->tail->next : &app->head) = entry;
    app->tail = entry;
    if (!is_peer_event(entry->type))
        return;
    *(app->peer_tail ? &app->peer_tail->next_peer : &app->peer_head) = entry;
    app->peer_tail = entry;
    app->peers_waiting++;
}

void app_free(struct app *app)
{
    if (!app)
        return;
    for (struct entry *entry = app->head, *next; entry; entry = next) {
        next = entry->next;
        free(entry);
    }
    if (app->descriptor >= 0)
        close(app->descriptor);
    pthread_mutex_destroy(&app->mutex);
    free(app);
}

void app_wake_with(struct app *app, void (*wake)(void *argument), void *argument)
{
    app->wake = wake;
    app->wake_argument = argument;
}

int app_descriptor(struct app *app)
{
    int descriptor;

    pthread_mutex_lock(&app->mutex);
    if (app->descriptor < 0)
        app->descriptor = eventfd(app->signalled, EFD_CLOEXEC | EFD_NONBLOCK);
    descriptor = app->descriptor;
    pthread_mutex_unlock(&app->mutex);
    return descriptor >= 0 ? descriptor : P2P_ERR_NODE_SYSTEM;
}

/* The counter is 0 or 1: neither can fail. */
static void signal_descriptor(const struct app *app, bool waits)
{
    uint64_t one = 1;
    ssize_t done = waits ? write(app->descriptor, &one, sizeof(one)) : read(app->descriptor, &one, sizeof(one));

    assert(done == (ssize_t)sizeof(one));
}

/* Under the mutex, after each change: readable while something waits. */
static void signal_change(struct app *app)
{
    bool waits = app->head || app->ready_head || app->closed;

    if (waits == app->signalled)
        return;
    if (app->descriptor >= 0) /* somebody may be waiting for it */
        signal_descriptor(app, waits);
    app->signalled = waits;
    if (waits && app->wake)
        app->wake(app->wake_argument);
}

static size_t id_length_of(const struct p2p_event *event)
{
    return strnlen(event->id, sizeof(event->id) - 1);
}

static size_t text_length_of(const struct p2p_event *event)
{
    return strnlen(event->text.text, sizeof(event->text.text) - 1);
}

/* There is room behind it for both texts. */
static void entry_fill(struct entry *entry, const struct p2p_event *event)
{
    size_t id_length = id_length_of(event), text_length = text_length_of(event);

    entry->type = (uint8_t)event->type;
    entry->error = event->error;
    entry->request = event->request;
    entry->stream = event->stream;
    entry->id_length = (uint8_t)id_length;
    entry->text_length = (uint16_t)text_length;
    memcpy(entry->bytes, event->id, id_length);
    memcpy(entry->bytes + id_length, event->text.text, text_length);
}

static struct entry *entry_new(const struct p2p_event *event)
{
    struct entry *entry = calloc(1, sizeof(*entry) + id_length_of(event) + text_length_of(event));

    if (entry)
        entry_fill(entry, event);
    return entry;
}

static void entry_event(const struct entry *entry, struct p2p_event *event)
{
    event->type = (enum p2p_event_type)entry->type;
    event->error = entry->error;
    event->request = entry->request;
    event->stream = entry->stream;
    memcpy(event->id, entry->bytes, entry->id_length);
    memcpy(event->text.text, entry->bytes + entry->id_length, entry->text_length);
    event->id[entry->id_length] = '\0';
    event->text.text[entry->text_length] = '\0';
}

/* NULL: NODE_CLOSED, which has its place.  False: there was no room for it. */
static bool push(struct app *app, struct entry *entry, enum p2p_event_type type)
{
    struct entry *dropped = NULL;

    pthread_mutex_lock(&app->mutex);
    bool again = type == P2P_EVENT_ADDRESSES_CHANGED && app->changed;
    bool full = type == P2P_EVENT_STREAM_INCOMING && app->incoming_waiting == APP_INCOMING_MAX;
    if (app->ended || full || again) {
        pthread_mutex_unlock(&app->mutex);
        free(entry);
        return again;
    }
    if (!entry)
        app->closed = true;
    else
        link_entry(app, entry);
    if (type == P2P_EVENT_STREAM_INCOMING)
        app->incoming_waiting++;
    app->changed |= type == P2P_EVENT_ADDRESSES_CHANGED;
    if (app->peers_waiting > APP_EVENTS_MAX) {
        dropped = app->peer_head;
        unlink_entry(app, dropped);
        app->dropped++;
    }
    signal_change(app);
    pthread_mutex_unlock(&app->mutex);
    free(dropped);
    return true;
}

bool app_push(struct app *app, const struct p2p_event *event)
{
    struct entry *entry = event->type == P2P_EVENT_NODE_CLOSED ? NULL : entry_new(event);

    if (!entry && event->type != P2P_EVENT_NODE_CLOSED) {
        pthread_mutex_lock(&app->mutex);
        app->dropped += is_peer_event(event->type);
        pthread_mutex_unlock(&app->mutex);
        return false;
    }
    return push(app, entry, event->type);
}

struct app_answer *app_answer_new(void)
{
    const struct p2p_event *event = NULL;

    return calloc(1, sizeof(struct entry) + sizeof(event->id) + sizeof(event->text));
}

void app_answer_free(struct app_answer *answer)
{
    free(answer);
}

void app_push_answer(struct app *app, struct app_answer *answer, const struct p2p_event *event)
{
    struct entry *entry = (struct entry *)(void *)answer;

    entry_fill(entry, event);
    (void)push(app, entry, event->type);
}

uint64_t app_dropped(struct app *app)
{
    pthread_mutex_lock(&app->mutex);
    uint64_t dropped = app->dropped;
    pthread_mutex_unlock(&app->mutex);
    return dropped;
}

static void list_ready(struct app *app, struct app_ready *ready)
{
    ready->listed = true;
    ready->next = NULL;
    ready->previous = app->ready_tail;
    *(app->ready_tail ? &app->ready_tail->next : &app->ready_head) = ready;
    app->ready_tail = ready;
}

static void unlist_ready(struct app *app, struct app_ready *ready)
{
    *(ready->previous ? &ready->previous->next : &app->ready_head) = ready->next;
    *(ready->next ? &ready->next->previous : &app->ready_tail) = ready->previous;
    ready->listed = false;
}

void app_stream_ready(struct app *app, struct app_ready *ready, struct p2p_stream *stream, uint32_t bits, int error)
{
    pthread_mutex_lock(&app->mutex);
    ready->stream = stream;
    ready->bits |= bits;
    if (bits & APP_STREAM_FAILED)
        ready->error = error;
    if (!ready->listed) {
        list_ready(app, ready);
        signal_change(app);
    }
    pthread_mutex_unlock(&app->mutex);
}

void app_stream_forget(struct app *app, struct app_ready *ready)
{
    pthread_mutex_lock(&app->mutex);
    if (ready->listed) {
        unlist_ready(app, ready);
        signal_change(app);
    }
    ready->bits = 0;
    pthread_mutex_unlock(&app->mutex);
}

/* One bit of the first stream, which goes to the end of the list while it has
 * others. */
static void take_ready(struct app *app, struct p2p_event *event)
{
    struct app_ready *ready = app->ready_head;

    event->stream = ready->stream;
    if (ready->bits & APP_STREAM_READABLE) {
        event->type = P2P_EVENT_STREAM_READABLE;
        ready->bits &= ~(uint32_t)APP_STREAM_READABLE;
    } else if (ready->bits & APP_STREAM_WRITABLE) {
        event->type = P2P_EVENT_STREAM_WRITABLE;
        ready->bits &= ~(uint32_t)APP_STREAM_WRITABLE;
    } else {
        event->type = P2P_EVENT_STREAM_FAILED;
        event->error = ready->error;
        ready->bits &= ~(uint32_t)APP_STREAM_FAILED;
    }
    unlist_ready(app, ready);
    if (ready->bits)
        list_ready(app, ready);
}

void app_hold(struct app *app, struct app_held *held, struct p2p_stream *stream)
{
    pthread_mutex_lock(&app->mutex);
    assert(!held->stream);
    held->stream = stream;
    held->previous = NULL;
    held->next = app->held;
    if (held->next)
        held->next->previous = held;
    app->held = held;
    pthread_mutex_unlock(&app->mutex);
}

static void unhold(struct app *app, struct app_held *held)
{
    *(held->previous ? &held->previous->next : &app->held) = held->next;
    if (held->next)
        held->next->previous = held->previous;
    held->stream = NULL;
}

void app_release(struct app *app, struct app_held *held)
{
    pthread_mutex_lock(&app->mutex);
    if (held->stream)
        unhold(app, held);
    pthread_mutex_unlock(&app->mutex);
}

void app_drop_held(struct app *app, void (*drop)(struct p2p_stream *stream))
{
    while (app->held) {
        struct p2p_stream *stream = app->held->stream;
        unhold(app, app->held);
        drop(stream);
    }
}

int app_next(struct app *app, struct p2p_event *event)
{
    struct entry *entry = NULL;
    int result = 0;

    event->type = P2P_EVENT_NONE;
    event->error = 0;
    event->request = 0;
    event->stream = NULL;
    event->id[0] = '\0';
    event->text.text[0] = '\0';
    pthread_mutex_lock(&app->mutex);
    if (app->head) { /* first: a stream is announced before it is ready */
        entry = app->head;
        if (entry->type == P2P_EVENT_STREAM_INCOMING)
            app->incoming_waiting--;
        if (entry->type == P2P_EVENT_ADDRESSES_CHANGED)
            app->changed = false;
        unlink_entry(app, entry);
    } else if (app->ready_head) {
        take_ready(app, event);
    } else if (app->closed) {
        event->type = P2P_EVENT_NODE_CLOSED;
        app->closed = false;
        app->ended = true;
    } else {
        result = P2P_ERR_CALL_AGAIN;
    }
    signal_change(app);
    pthread_mutex_unlock(&app->mutex);
    if (entry)
        entry_event(entry, event);
    free(entry);
    return result;
}
