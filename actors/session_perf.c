#include "actors/session_perf.h"

#include "net/perf.h"
#include "net/yamux.h"

#include <stdlib.h>
#include <string.h>

/* The serving side of /perf/1.0.0. */

enum { PIECE_BYTES = 262144 };

static void opened(struct p2p_stream *stream, void *user)
{
    struct perf_server *server = calloc(1, sizeof(*server));

    (void)user;
    if (server == NULL) {
        p2p_stream_reset(stream, YAMUX_RESET_RESOURCE_LIMIT);
        return;
    }
    perf_server_init(server);
    p2p_stream_set_user(stream, server);
}

static void end(struct p2p_stream *stream, struct perf_server *server)
{
    free(server);
    p2p_stream_close(stream);
}

static void send_more(struct p2p_stream *stream, void *user)
{
    struct perf_server *server = user;
    uint64_t left;

    while ((left = perf_server_send_left(server)) > 0) {
        size_t length = left < PIECE_BYTES ? (size_t)left : PIECE_BYTES;
        struct p2p_buffer *buffer = p2p_buffer_new(p2p_stream_node(stream), length);
        int error;

        if (buffer == NULL)
            break;
        memset(p2p_buffer_data(buffer), 0, length);
        error = p2p_stream_write_buffer(stream, buffer);
        if (error == P2P_ERR_CALL_AGAIN) {
            p2p_buffer_free(buffer);
            return;
        }
        if (error != 0)
            break;
        perf_server_sent(server, length);
    }
    if (perf_server_done(server)) {
        end(stream, server);
    } else if (left > 0) { /* no FIN: it is not all */
        free(server);
        p2p_stream_reset(stream, YAMUX_RESET_RESOURCE_LIMIT);
    }
}

static void receive(struct p2p_stream *stream, void *user)
{
    struct perf_server *server = user;
    struct p2p_buffer *buffer;
    int error;

    while ((error = p2p_stream_read_buffer(stream, &buffer)) == 0) {
        error = perf_server_recv(server, p2p_buffer_data(buffer), p2p_buffer_length(buffer));
        p2p_buffer_free(buffer);
        if (error != 0)
            break;
    }
    if (error == P2P_ERR_CALL_AGAIN)
        return;
    if (error != P2P_ERR_STREAM_EOF || perf_server_end(server) != 0) {
        free(server);
        p2p_stream_reset(stream, YAMUX_RESET_PROTOCOL);
        return;
    }
    send_more(stream, server);
}

static void failed(struct p2p_stream *stream, void *user, int error)
{
    (void)error;
    end(stream, user);
}

const struct p2p_stream_callbacks session_perf_callbacks = {opened, receive, send_more, failed};
