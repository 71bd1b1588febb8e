#include "actors/session_ping.h"

#include "actors/session_state.h"
#include "net/ping.h"

#include <stdlib.h>

/* /ipfs/ping/1.0.0: answering, and asking on one stream that is kept.  Peers
 * cut a ping stream after a while (go 10 s, js 10 s): the next ping opens a new
 * one. */

/* ---- Answering ------------------------------------------------------------ */

enum { PINGS_READ_MAX = 64 }; /* payloads answered at a time: then other streams have their turn */

static void serve_opened(struct p2p_stream *stream, void *user)
{
    struct ping_server *server = calloc(1, sizeof(*server));

    (void)user;
    if (server == NULL) {
        p2p_stream_reset(stream, YAMUX_RESET_RESOURCE_LIMIT);
        return;
    }
    ping_server_init(server);
    p2p_stream_set_user(stream, server);
}

static void serve_end(struct p2p_stream *stream, struct ping_server *server)
{
    free(server);
    p2p_stream_close(stream);
}

static void serve(struct p2p_stream *stream, void *user)
{
    struct ping_server *server = user;
    uint8_t in[PING_PAYLOAD_BYTES], out[PING_PAYLOAD_BYTES];

    for (int i = 0; i < PINGS_READ_MAX; i++) {
        int64_t count = p2p_stream_read(stream, in, (size_t)(PING_PAYLOAD_BYTES - server->filled));

        if (count == P2P_ERR_CALL_AGAIN)
            return;
        if (count < 0) {
            serve_end(stream, server);
            return;
        }
        (void)ping_server_recv(server, in, (size_t)count); /* never more than the rest of one payload */
        if (!ping_server_send(server, out))
            continue;
        if (p2p_stream_write(stream, out, sizeof(out)) != (int64_t)sizeof(out)) {
            /* There is no room for one answer more: this peer does not read them. */
            free(server);
            p2p_stream_reset(stream, YAMUX_RESET_RESOURCE_LIMIT);
            return;
        }
    }
    stream->flags |= STREAM_READABLE;
    if (stream->session != NULL)
        session_stream_ready(stream->session, stream);
}

static void serve_failed(struct p2p_stream *stream, void *user, int error)
{
    (void)error;
    serve_end(stream, user);
}

const struct p2p_stream_callbacks session_ping_callbacks = {serve_opened, serve, NULL, serve_failed};

/* ---- Asking --------------------------------------------------------------- */

enum { PING_WAITERS_MAX = 1024 };

struct asker {
    struct asker *next;
    struct waiter *waiter;
};

struct session_ping {
    struct ping_client client;
    struct session *session; /* NULL when the session has let go */
    struct p2p_stream *stream;
    struct asker *askers, *askers_tail;
    unsigned count;
    unsigned tries; /* streams that ended before they answered the first of the askers */
};

static const struct p2p_stream_callbacks ask_callbacks;

static void finish_first(struct session_ping *ping, int result, uint64_t rtt_ns)
{
    struct asker *asker = ping->askers;

    ping->askers = asker->next;
    if (ping->askers == NULL)
        ping->askers_tail = NULL;
    ping->count--;
    ping->tries = 0;
    asker->waiter->value = rtt_ns;
    waiter_finish(asker->waiter, result);
    free(asker);
}

static void finish_all(struct session_ping *ping, int result)
{
    while (ping->askers != NULL)
        finish_first(ping, result, 0);
}

static void open_next(struct session_ping *ping)
{
    struct p2p_stream *stream = session_stream_new(ping->session, PING_PROTOCOL, &ask_callbacks, ping);

    if (stream == NULL) {
        finish_all(ping, P2P_ERR_CALL_NOMEM);
        return;
    }
    ping->stream = stream;
    ping_client_init(&ping->client);
    session_open_stream(ping->session, stream);
}

/* The stream is open: the next asker's bytes go out. */
static void ask(struct p2p_stream *stream, void *user)
{
    struct session_ping *ping = user;
    uint8_t random[PING_PAYLOAD_BYTES];
    struct driver *driver;

    if (ping->session == NULL || ping->askers == NULL || ping_client_outstanding_ns(&ping->client) != 0)
        return;
    driver = ping->session->local->driver;
    driver_entropy(driver, random, sizeof(random));
    (void)ping_client_begin(&ping->client, random, driver_now_ns(driver)); /* none is outstanding */
    (void)p2p_stream_write(stream, random, sizeof(random)); /* a stream that is lost says so by itself */
}

static void asked_ended(struct session_ping *ping, struct p2p_stream *stream, int error)
{
    p2p_stream_close(stream);
    ping->stream = NULL;
    if (ping->session == NULL) {
        finish_all(ping, error);
        free(ping);
        return;
    }
    /* An old stream may have been cut just as we asked: once more on a new one. */
    if (ping->askers != NULL && (ping->tries++ > 0 || error == P2P_ERR_STREAM_REFUSED))
        finish_first(ping, error, 0);
    if (ping->askers != NULL && session_is_open(ping->session))
        open_next(ping);
}

static void answered(struct p2p_stream *stream, void *user)
{
    struct session_ping *ping = user;
    uint8_t in[PING_PAYLOAD_BYTES];
    uint64_t rtt_ns = 0;
    int64_t count;

    while ((count = p2p_stream_read(stream, in, sizeof(in))) > 0) {
        uint64_t now_ns = ping->session != NULL ? driver_now_ns(ping->session->local->driver) : 0;

        if (ping_client_recv(&ping->client, &rtt_ns, in, (size_t)count, now_ns) != 0) {
            count = P2P_ERR_STREAM_PROTOCOL;
            break;
        }
        if (rtt_ns != 0 && ping->askers != NULL)
            finish_first(ping, 0, rtt_ns);
    }
    if (count != P2P_ERR_CALL_AGAIN)
        asked_ended(ping, stream, (int)count);
    else
        ask(stream, ping);
}

static void asked_failed(struct p2p_stream *stream, void *user, int error)
{
    asked_ended(user, stream, error);
}

static const struct p2p_stream_callbacks ask_callbacks = {ask, answered, NULL, asked_failed};

/* Askers whose time has run out.  If the answer to the first is still awaited,
 * none may come on that stream any more: who asks next gets a new one. */
static void drop_given_up(struct session_ping *ping)
{
    bool hangs = ping->askers != NULL && waiter_given_up(ping->askers->waiter);

    while (ping->askers != NULL && waiter_given_up(ping->askers->waiter))
        finish_first(ping, P2P_ERR_CALL_CANCELLED, 0);
    if (!hangs || ping->stream == NULL || (ping->stream->flags & STREAM_HANDLE) == 0)
        return;
    p2p_stream_reset(ping->stream, YAMUX_RESET_NONE);
    ping->stream = NULL;
}

void session_ping_ask(struct session *session, struct waiter *waiter)
{
    struct session_ping *ping = session->busy->ping;
    struct asker *asker = calloc(1, sizeof(*asker));

    if (ping != NULL)
        drop_given_up(ping);
    if (ping == NULL && asker != NULL && session_be_busy(session) == 0)
        ping = session->busy->ping = calloc(1, sizeof(*ping));
    if (asker == NULL || ping == NULL || !session_is_open(session) || ping->count >= PING_WAITERS_MAX) {
        free(asker);
        waiter_finish(waiter, !session_is_open(session) ? P2P_ERR_CONN_CLOSED : P2P_ERR_CALL_FULL);
        return;
    }
    ping->session = session;
    asker->waiter = waiter;
    if (ping->askers_tail != NULL)
        ping->askers_tail->next = asker;
    else
        ping->askers = asker;
    ping->askers_tail = asker;
    ping->count++;
    if (ping->stream == NULL)
        open_next(ping);
    else if (ping->stream->flags & STREAM_OPENED)
        ask(ping->stream, ping);
}

void session_ping_free(struct session *session, int error)
{
    struct session_ping *ping = session->busy->ping;

    if (ping == NULL)
        return;
    session->busy->ping = NULL;
    finish_all(ping, error);
    ping->session = NULL;
    if (ping->stream == NULL)
        free(ping);
}
