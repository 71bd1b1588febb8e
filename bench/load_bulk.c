#include "load.h"

#include <stdlib.h>

/* `bulk`: streams of /perf/1.0.0, as many bytes as go through. */

enum { PIECE_BYTES = 262144 };

/* What a download asks for: more than any load takes, and exact in a double. */
static const uint8_t endless[8] = {0, 1, 0, 0, 0, 0, 0, 0};
static const uint8_t nothing[8];
static const uint8_t piece[PIECE_BYTES];

struct bulk_stream {
    struct load *load;
    bool uncounted;
};

static void end(struct p2p_stream *stream, struct bulk_stream *bulk, int error)
{
    if (error != 0) {
        load_unit_failed(bulk->load, error);
        p2p_stream_close(stream);
    } else {
        p2p_stream_reset(stream, 0);
    }
    load_idle(bulk->load);
}

static void failed(struct p2p_stream *stream, void *user, int error)
{
    end(stream, user, error);
}

/* ---- Up ---------------------------------------------------------------------------- */

static void send_more(struct p2p_stream *stream, void *user)
{
    struct bulk_stream *bulk = user;
    int64_t count = PIECE_BYTES;

    while (count == PIECE_BYTES) {
        if (load_phase(bulk->load) == LOAD_OVER) {
            end(stream, bulk, 0);
            return;
        }
        count = p2p_stream_write(stream, piece, PIECE_BYTES);
        if (count > 0 && !bulk->uncounted)
            load_units(bulk->load, (uint64_t)count);
    }
}

static void begin_up(struct p2p_stream *stream, void *user)
{
    (void)p2p_stream_write(stream, nothing, sizeof(nothing)); /* a fresh stream has room */
    send_more(stream, user);
}

/* Nothing is due to come but the end. */
static void ended_early(struct p2p_stream *stream, void *user)
{
    int64_t count = load_discard(stream);

    if (count != P2P_ERR_CALL_AGAIN)
        end(stream, user, count < 0 ? (int)count : P2P_ERR_STREAM_PROTOCOL);
}

/* ---- Down -------------------------------------------------------------------------- */

static void begin_down(struct p2p_stream *stream, void *user)
{
    (void)user;
    (void)p2p_stream_write(stream, endless, sizeof(endless)); /* a fresh stream has room */
    (void)p2p_stream_close_write(stream); /* on its worker */
}

static void receive(struct p2p_stream *stream, void *user)
{
    struct bulk_stream *bulk = user;
    int64_t count;

    while ((count = load_discard(stream)) > 0) {
        if (load_phase(bulk->load) == LOAD_OVER) {
            end(stream, bulk, 0);
            return;
        }
        load_units(bulk->load, (uint64_t)count);
    }
    if (count != P2P_ERR_CALL_AGAIN)
        end(stream, bulk, (int)count);
}

static const struct p2p_stream_callbacks up_callbacks = {begin_up, ended_early, send_more, failed};
static const struct p2p_stream_callbacks down_callbacks = {begin_down, receive, NULL, failed};

/* ---- The work ---------------------------------------------------------------------- */

static bool start(struct load_node *node, struct bulk_stream *bulk, bool up)
{
    struct load *load = node->load;
    int error;

    bulk->load = load;
    load_busy(load);
    error = load_open(node, "/perf/1.0.0", up ? &up_callbacks : &down_callbacks, bulk);
    if (error == 0)
        return true;
    load_idle(load);
    return load_fail(load, "open: %s", p2p_error_string(error));
}

/* Memory for so many streams, which the load keeps. */
static struct bulk_stream *make(struct load *load, size_t count, void **keep)
{
    *keep = calloc(count, sizeof(struct bulk_stream));
    if (*keep == NULL)
        (void)load_fail(load, "no memory for %zu streams", count);
    return *keep;
}

static bool start_all(struct load *load)
{
    const struct load_request *request = &load->request;
    struct bulk_stream *next = make(load, 2ul * load->node_count * request->streams, &load->work);

    for (uint32_t i = 0; next != NULL && i < load->node_count; i++) {
        for (uint32_t j = 0; j < request->streams; j++) {
            if (request->direction & LOAD_UP && !start(&load->nodes[i], next++, true))
                return false;
            if (request->direction & LOAD_DOWN && !start(&load->nodes[i], next++, false))
                return false;
        }
    }
    return next != NULL;
}

bool load_bulk(struct load *load)
{
    if (!load_make(load, load->request.connections) || !load_connect(load) || !start_all(load))
        return false;
    load_measure(load);
    return true;
}

bool load_upload(struct load *load)
{
    struct bulk_stream *bulk = make(load, 1, &load->upload);

    if (bulk == NULL)
        return false;
    bulk->uncounted = true;
    return start(&load->nodes[0], bulk, true);
}
