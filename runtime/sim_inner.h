#ifndef RUNTIME_SIM_INNER_H
#define RUNTIME_SIM_INNER_H

#include "runtime/driver_inner.h"
#include "runtime/driver_sim.h"

/* What the files of the simulator share: driver_sim.c is the driver, sim_socket.c
 * what sockets do and what crosses between them, sim_world.c time, chance and
 * addresses. */

/* Bytes on their way to a socket, or arrived and not yet received. */
struct sim_segment {
    struct sim_segment *next;
    uint32_t offset, length;
    uint8_t data[];
};

struct sim_socket {
    int number;
    struct sim_driver *driver; /* NULL: in a backlog, or between release and adoption */
    struct sim_socket *peer;   /* NULL: none, or not any more */
    struct sockaddr_storage local, remote;
    struct actor_ref receiver, sender;
    struct buffer *receive_buffer, *send_buffer; /* NULL: no such operation */
    uint32_t receive_offset, send_offset, send_length;
    uint32_t sent; /* of the send in flight */
    struct sim_segment *first, *last; /* inbound */
    uint32_t inbound_bytes;
    uint64_t sent_bytes;
    struct sim_socket *waiting_first, *waiting_last; /* a listener's backlog */
    struct sim_socket *waiting_next;
    unsigned waiting;
    bool listening;
    bool receiving; /* driver_receive() or driver_accept() is on */
    bool connecting;
    bool shutting;  /* the end follows the send in flight */
    bool shut;      /* it has been sent */
    bool ended;     /* the peer's FIN lies behind the inbound bytes */
    bool reset;     /* the peer's RST does */
    bool dead;      /* and has been told */
    bool ready;     /* on its driver's list */
};

struct sim_driver {
    struct driver base;
    struct sim_world *world;
    unsigned index;
    struct sim_socket **ready; /* operations that may go on */
    unsigned ready_count, ready_capacity;
    bool woken;
    bool frozen;
    uint64_t sleep_until_ns; /* 0: it has work due */
};

struct sim_world {
    uint64_t random;
    uint64_t now_ns;
    uint64_t trace;
    uint16_t next_port;
    struct sim_driver **drivers;
    unsigned driver_count, drivers_made;
    struct sim_socket **sockets; /* by number, NULL: free */
    unsigned socket_count;
    unsigned socket_free; /* none is free below */
    struct sim_socket **listeners;
    unsigned listener_count;
};

/* Tests have memory: aborts without. */
void *sim_must(void *memory);

/* Chance: in [0, bound). */
uint64_t sim_draw(struct sim_world *world);
uint32_t sim_draw_below(struct sim_world *world, uint32_t bound);
/* All of `available`, or, one time in four, a part of it: at least 1. */
uint32_t sim_draw_part(struct sim_world *world, uint32_t available);
/* A completion goes into the trace. */
void sim_note(struct sim_driver *driver, enum message_type type, int64_t result, int socket);

/* 0 or -errno. */
int sim_address_copy(struct sockaddr_storage *out, const struct sockaddr *address, socklen_t length);
/* Binds `address`, whose port 0 becomes a free one.  0 or -EADDRINUSE. */
int sim_bind(struct sim_world *world, struct sockaddr_storage *address, bool shared);
void sim_ephemeral_port(struct sim_world *world, struct sockaddr_storage *address);
/* Who listens there, or NULL; one of several siblings is drawn. */
struct sim_socket *sim_listener_find(struct sim_world *world, const struct sockaddr_storage *remote);

/* Of a driver, or (NULL) of none yet: with the lowest free number, as in the kernel. */
struct sim_socket *sim_socket_new(struct sim_world *world, struct sim_driver *driver);
/* An open socket of this driver: asserts so. */
struct sim_socket *sim_socket_at(const struct sim_driver *driver, int number);
/* An operation begins (and may go on in the driver's next turn), or has ended. */
void sim_socket_begin(struct sim_socket *socket);
void sim_socket_end(struct sim_socket *socket);
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
