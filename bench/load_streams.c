#include "bench.h"
#include "load.h"

#include <stdlib.h>

/* `streams`: streams of /echo/1.0.0, one after the other in each of `inflight`
 * places of one connection. */

struct place {
    struct load *load;
    uint64_t from_ns; /* when its stream was opened */
    uint32_t sent, received;
};

static void begin(struct place *place);

static void next(struct place *place)
{
    if (load_phase(place->load) == LOAD_OVER)
        load_idle(place->load);
    else
        begin(place);
}

static void failed(struct p2p_stream *stream, void *user, int error)
{
    struct place *place = user;

    p2p_stream_close(stream);
    load_unit_failed(place->load, error);
    if (error <= LOAD_CONNECTION_ERROR)
        load_idle(place->load);
    else
        next(place);
}

static void write_more(struct p2p_stream *stream, void *user)
{
    struct place *place = user;
    const struct load *load = place->load;

    while (place->sent < load->request.size) {
        int64_t count = p2p_stream_write(stream, load->payload + place->sent, load->request.size - place->sent);

        if (count <= 0)
            return; /* until it is writable, or has failed */
        place->sent += (uint32_t)count;
    }
    (void)p2p_stream_close_write(stream); /* on its worker */
}

static void receive(struct p2p_stream *stream, void *user)
{
    struct place *place = user;
    struct load *load = place->load;
    int64_t count;

    while ((count = load_discard(stream)) > 0) {
        place->received += (uint32_t)count;
        if (load_phase(load) == LOAD_OVER) {
            p2p_stream_reset(stream, 0);
            load_idle(load);
            return;
        }
    }
    if (count == P2P_ERR_CALL_AGAIN)
        return;
    if (count != P2P_ERR_STREAM_EOF || place->received != load->request.size) {
        failed(stream, user, (int)count);
        return;
    }
    load_unit(load, bench_now_ns() - place->from_ns);
    p2p_stream_close(stream);
    next(place);
}

static void begin(struct place *place)
{
    static const struct p2p_stream_callbacks callbacks = {write_more, receive, write_more, failed};
    int error;

    place->sent = place->received = 0;
    place->from_ns = bench_now_ns();
    error = load_open(&place->load->nodes[0], "/echo/1.0.0", &callbacks, place);
    if (error == 0)
        return;
    load_unit_failed(place->load, error);
    load_idle(place->load); /* its connection has ended */
}

bool load_streams(struct load *load)
{
    struct place *places;

    if (!load_make(load, 1) || !load_connect(load))
        return false;
    places = load->work = calloc(load->request.inflight, sizeof(*places));
    if (places == NULL)
        return load_fail(load, "no memory for %u streams", load->request.inflight);
    for (uint32_t i = 0; i < load->request.inflight; i++) {
        places[i].load = load;
        load_busy(load);
        begin(&places[i]);
    }
    load_measure(load);
    return true;
}
