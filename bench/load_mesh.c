#include "bench.h"
#include "load.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* `idle` with `nodes`: each of some nodes holds connections to many others, as
 * nodes do, so that what a node costs is not counted as its connections'. */

#define PROGRESS_NS_MAX (UINT64_C(60) * 1000000000) /* the contract's patience */

enum { ADDRESSES_MAX = 4096 };

struct mesh {
    const char *addresses[ADDRESSES_MAX];
    uint32_t address_count;
    char text[]; /* what they point into */
};

static void take_event(struct load_node *node, const struct p2p_event *event)
{
    struct load *load = node->load;

    if (event->type == P2P_EVENT_PEER_IDENTIFIED)
        load->up++;
    else if (event->type == P2P_EVENT_CONNECT_FAILED)
        (void)load_fail(load, "connect: %s", event->text.text);
    if (event->type != P2P_EVENT_PEER_DISCONNECTED || load_phase(load) == LOAD_OVER)
        return;
    load->lost++;
    __atomic_store_n(&load->unit_error, event->error, __ATOMIC_RELAXED);
}

/* The addresses of the list, with commas between them. */
static struct mesh *split(struct load *load)
{
    size_t length = strlen(load->request.address);
    struct mesh *mesh = malloc(sizeof(*mesh) + length + 1);
    char *save = NULL;

    load->work = mesh;
    if (mesh == NULL) {
        (void)load_fail(load, "no memory for addresses");
        return NULL;
    }
    mesh->address_count = 0;
    memcpy(mesh->text, load->request.address, length + 1);
    for (char *next = strtok_r(mesh->text, ",", &save); next != NULL && mesh->address_count < ADDRESSES_MAX;
         next = strtok_r(NULL, ",", &save))
        mesh->addresses[mesh->address_count++] = next;
    if ((uint64_t)mesh->address_count * load->request.nodes >= load->request.connections)
        return mesh;
    (void)load_fail(load, "%u nodes and %u addresses make no %u connections: of each two, one", load->request.nodes,
                    mesh->address_count, load->request.connections);
    return NULL;
}

/* Each node's turn comes before the next address's. */
static bool dial(struct load *load, const struct mesh *mesh, uint32_t number)
{
    struct load_node *node = &load->nodes[number % load->node_count];
    const char *address = mesh->addresses[number / load->node_count];
    struct p2p_error_text text = {""};

    return p2p_node_connect_start(node->node, number + 1, address, LOAD_DIAL_MS_MAX, &text) == 0 ||
           load_fail(load, "%s", text.text);
}

static bool connect_all(struct load *load, const struct mesh *mesh)
{
    uint64_t progress_ns = bench_now_ns();
    uint32_t dialled = 0, up = 0, wanted = load->request.connections;

    while (load->up < wanted && !load->stopped) {
        while (dialled < wanted && dialled < load->up + LOAD_DIALS_MAX) {
            if (!dial(load, mesh, dialled++))
                return false;
        }
        load_wait(load, progress_ns + PROGRESS_NS_MAX);
        if (load->lost > 0)
            (void)load_fail(load, "a connection was lost while others were made: %s",
                            p2p_error_string(load->unit_error));
        else if (load->up == up && bench_now_ns() >= progress_ns + PROGRESS_NS_MAX)
            (void)load_fail(load, "%u of %u connections were not there in time", wanted - up, wanted);
        if (load->error[0] != '\0')
            return false;
        if (load->up != up)
            progress_ns = bench_now_ns();
        up = load->up;
    }
    return !load->stopped;
}

bool load_mesh(struct load *load)
{
    struct mesh *mesh = split(load);
    uint64_t begin_ns;

    if (mesh == NULL || !load_make(load, load->request.nodes))
        return false;
    load->on_event = take_event;
    load->fixed_bytes = (double)bench_status_kb(getpid(), "RssAnon") * 1024;
    begin_ns = bench_now_ns();
    if (!connect_all(load, mesh))
        return false;
    load->setup_s = (double)(bench_now_ns() - begin_ns) / 1e9;
    load_measure(load);
    load_lane(load)->units = load->up - load->lost;
    load_lane(load)->failed = load->lost;
    return true;
}
