#include "actors/session_echo.h"

/* /echo/1.0.0: what comes goes back, without a copy. */

static void go_on(struct p2p_stream *stream, void *user)
{
    struct p2p_buffer *buffer = p2p_stream_user(stream); /* one that found no room */
    int error = 0;

    (void)user;
    for (;;) {
        if (buffer == NULL)
            error = p2p_stream_read_buffer(stream, &buffer);
        if (error != 0)
            break;
        p2p_stream_set_user(stream, buffer);
        error = p2p_stream_write_buffer(stream, buffer);
        if (error == P2P_ERR_CALL_AGAIN)
            return;
        buffer = NULL;
        p2p_stream_set_user(stream, NULL);
        if (error != 0)
            break;
    }
    if (error != P2P_ERR_CALL_AGAIN)
        p2p_stream_close(stream);
}

static void failed(struct p2p_stream *stream, void *user, int error)
{
    (void)user;
    (void)error;
    p2p_buffer_free(p2p_stream_user(stream));
    p2p_stream_close(stream);
}

const struct p2p_stream_callbacks session_echo_callbacks = {
    .readable = go_on,
    .writable = go_on,
    .failed = failed,
};
