#ifndef RUNTIME_SIM_INNER_H
#define RUNTIME_SIM_INNER_H

#include "runtime/driver_inner.h"
#include "runtime/driver_sim.h"

/* What the files of the simulator share: driver_sim.c is the driver, sim_socket.c
 * what sockets do, sim_link.c what crosses between them, sim_host.c hosts,
 * addresses and what goes wrong there, sim_world.c time, chance and turns. */

/* On its way to a socket, or arrived and not yet received. */
enum sim_segment_kind { SIM_BYTES, SIM_END, SIM_RESET };

struct sim_segment {
    struct sim_segment *next;
    uint64_t due_ns;
    enum sim_segment_kind kind;
    uint32_t offset, length;
    uint8_t data[];
};

struct sim_queue {
    struct sim_segment *first, *last;
    uint32_t bytes;
};

struct sim_socket {
    int number;
    uint64_t serial;           /* no other socket ever has it */
    struct sim_driver *driver; /* NULL: in a backlog, or between release and adoption */
    struct sim_host *host, *remote_host; /* the second NULL: not known, or none */
    struct sim_socket *peer;   /* NULL: none, or not any more */
    struct sockaddr_storage local, remote;
    struct actor_ref receiver, sender;
    struct buffer *receive_buffer, *send_buffer; /* NULL: no such operation */
    uint32_t receive_offset, send_offset, send_length;
    uint32_t sent; /* of the send in flight */
    struct sim_queue flight;   /* on its way here, in order of due_ns */
    struct sim_queue inbound;  /* arrived */
    uint64_t flight_last_ns;   /* when the last of it is due */
    uint64_t retry_ns, retry_since_ns; /* what is due could not get through; 0: it does */
    uint64_t sent_bytes, arrived_bytes;
    uint32_t lost_bytes;       /* sent to where nobody is */
    struct sim_socket *waiting_first, *waiting_last; /* a listener's backlog */
    struct sim_socket *waiting_next;
    unsigned waiting;
    int failure;    /* what a reset is called: -ECONNRESET or -ETIMEDOUT */
    int connected;  /* the result of connecting, once known */
    bool known;
    bool listening;
    bool receiving; /* driver_receive() or driver_accept() is on */
    bool connecting;
    bool asking;    /* a SYN is under way */
    bool shutting;  /* the end follows the send in flight */
    bool shut;      /* it has been sent */
    bool ended;     /* the peer's FIN lies behind the inbound bytes */
    bool reset;     /* the peer's RST does */
    bool dead;      /* and has been told */
    bool ready;     /* on its driver's list */
    bool expected;  /* an event is to look at `flight` */
    bool orphan;    /* the peer's host went down, with the peer */
    bool counted;   /* among its host's sockets */
};

struct sim_driver {
    struct driver base;
    struct sim_world *world;
    struct sim_host *host;
    unsigned index;
    struct sim_socket **ready; /* operations that may go on */
    unsigned ready_count, ready_capacity;
    bool woken;
    bool frozen;
    bool runnable;           /* has a turn in this round or the next */
    bool turning;
    uint64_t sleep_until_ns; /* 0: it has work due */
    uint64_t event_ns;       /* of its earliest event; UINT64_MAX: none */
};

struct sim_host {
    struct sim_world *world;
    struct sockaddr_storage address; /* AF_UNSPEC: all that nobody else has */
    struct sim_link link;
    uint64_t out_free_ns, in_free_ns; /* its wire is busy until then */
    unsigned group;
    bool up, mute, deaf;
    enum sim_hidden hidden;
    int64_t wall_offset_ns;
    unsigned sockets, sockets_max;
    uint32_t errors_ppm;
    uint16_t next_port;
    struct sim_socket **listeners;
    unsigned listener_count;
};

enum sim_event_kind { SIM_EVENT_DRIVER, SIM_EVENT_ARRIVE, SIM_EVENT_SYN, SIM_EVENT_CONNECTED, SIM_EVENT_PROBE };

struct sim_event {
    uint64_t at_ns, order;
    enum sim_event_kind kind;
    unsigned number;           /* of a socket, from 0 */
    uint64_t serial;           /* of that socket: it may be another one by now */
    struct sim_driver *driver;
};

struct sim_driver_list {
    struct sim_driver **drivers;
    unsigned count, capacity;
};

struct sim_world {
    uint64_t random;
    uint64_t now_ns;
    uint64_t trace;
    uint64_t order, serial; /* of events and sockets so far */
    struct sim_event *events; /* a heap */
    unsigned event_count, event_capacity;
    struct sim_driver_list drivers, runnable, turned;
    unsigned drivers_made;
    struct sim_socket **sockets; /* by number, NULL: free */
    unsigned socket_count, socket_capacity;
    unsigned socket_free; /* none is free below */
    struct sim_host first_host;
    struct sim_host limbo;       /* where those are whose host went down */
    struct sim_host **hosts;     /* in order of their addresses */
    unsigned host_count;
    struct sim_host *settling;
    void (*watch)(void *argument, struct worker *worker);
    void *watch_argument;
    struct sim_world_stats stats;
};

/* Tests have memory: aborts without.  During turns it comes from reallocarray(),
 * which the node itself never calls: who refuses the node's allocations lets
 * these pass. */
void *sim_must(void *memory);

/* ---- sim_world.c */

/* Chance: in [0, bound). */
uint64_t sim_draw(struct sim_world *world);
uint32_t sim_draw_below(struct sim_world *world, uint32_t bound);
/* True so many times of a million; nothing is drawn for 0. */
bool sim_draw_ppm(struct sim_world *world, uint32_t ppm);
/* All of `available`, or, one time in four, a part of it: at least 1. */
uint32_t sim_draw_part(struct sim_world *world, uint32_t available);
/* A completion goes into the trace. */
void sim_note(struct sim_driver *driver, enum message_type type, int64_t result, int socket);
/* The driver gets a turn. */
void sim_rouse(struct sim_driver *driver);
void sim_list_add(struct sim_driver_list *list, struct sim_driver *driver);
void sim_list_remove(struct sim_driver_list *list, const struct sim_driver *driver);
void sim_event_socket(struct sim_world *world, enum sim_event_kind kind, const struct sim_socket *socket,
                      uint64_t at_ns);
void sim_events_forget(struct sim_world *world, const struct sim_driver *driver);

/* ---- sim_host.c */

void sim_host_init(struct sim_host *host, struct sim_world *world);
/* 0 or -errno. */
int sim_address_copy(struct sockaddr_storage *out, const struct sockaddr *address, socklen_t length);
/* Binds `address`, whose port 0 becomes a free one.  0, -EADDRINUSE or
 * -EADDRNOTAVAIL. */
int sim_bind(struct sim_host *host, struct sockaddr_storage *address, bool shared);
/* Where a connect from that host to `remote` comes from. */
void sim_local_address(struct sim_host *host, struct sockaddr_storage *local, const struct sockaddr_storage *remote);
/* Whose address that is, or NULL. */
struct sim_host *sim_host_find(struct sim_world *world, const struct sockaddr_storage *address);
/* Who listens there, or NULL; one of several siblings is drawn. */
struct sim_socket *sim_listener_find(struct sim_host *host, const struct sockaddr_storage *remote);
void sim_listener_add(struct sim_host *host, struct sim_socket *socket);
void sim_listener_remove(struct sim_socket *socket);
/* Whether anything gets through now. */
bool sim_path(const struct sim_host *from, const struct sim_host *to);
/* One more socket fits; counts it. */
bool sim_host_take(struct sim_host *host, struct sim_socket *socket);

/* ---- sim_link.c */

/* To the socket, behind what is under way to it. */
void sim_link_bytes(struct sim_socket *to, const uint8_t *bytes, uint32_t length);
void sim_link_end(struct sim_socket *to, enum sim_segment_kind kind);
/* Asks for a connection: the answer makes the socket `known`. */
void sim_link_connect(struct sim_socket *socket);
/* Bytes for a peer that is not there any more. */
void sim_link_probe(struct sim_socket *from);
/* Both ends, at once. */
void sim_link_cut(struct sim_socket *socket, int failure);
void sim_link_event(struct sim_world *world, const struct sim_event *event);
void sim_queue_clear(struct sim_queue *queue);

/* ---- sim_socket.c */

/* Of a driver, or (NULL) of none yet: with the lowest free number, as in the kernel. */
struct sim_socket *sim_socket_new(struct sim_host *host, struct sim_driver *driver);
/* An open socket of this driver: asserts so. */
struct sim_socket *sim_socket_at(const struct sim_driver *driver, int number);
/* Its driver looks what it can do now. */
void sim_socket_ready(struct sim_socket *socket);
/* An operation begins (and may go on in the driver's next turn), or has ended. */
void sim_socket_begin(struct sim_socket *socket);
void sim_socket_end(struct sim_socket *socket);
/* A receive of either kind has: says so, and hands its buffer over. */
void sim_socket_end_receive(struct sim_socket *socket, int64_t result);
/* Off its driver's list of those that may go on. */
void sim_socket_rest(struct sim_socket *socket);
/* Its operations go on as far as they can now. */
void sim_socket_visit(struct sim_socket *socket);
/* The end goes to the peer, behind what was sent. */
void sim_socket_shut(struct sim_socket *socket);
/* The socket is no more.  Its peer reads what is under way, and then the end or
 * a reset; bytes that we did not read make it a reset, as in Linux. */
void sim_socket_free(struct sim_world *world, struct sim_socket *socket, enum driver_close_how how);

#endif
