#ifndef RUNTIME_DRIVER_SOCKET_H
#define RUNTIME_DRIVER_SOCKET_H

#include "runtime/driver_inner.h"

#include <assert.h>

/* What the two drivers of the kernel's sockets share: a record for each open
 * descriptor, and the calls that are the same in both. */

/* What a completion's tag carries of a record's generation. */
enum { DRIVER_GENERATION_MASK = 0xffffff };

struct driver_socket {
    struct actor_ref receiver; /* of accepted connections or received bytes */
    struct actor_ref sender;   /* of the connect's or the send's completion */
    struct buffer *receive_buffer; /* of driver_receive_into(), NULL: none */
    struct buffer *send_buffer;    /* of the send in flight, NULL: none */
    uint32_t receive_offset;
    uint32_t send_offset, send_length; /* epoll: of what is left */
    uint32_t sent; /* epoll: of a send that goes on because the FIN waits for it */
    int descriptor;
    int next;            /* descriptor of the next on a list of the driver's; -1: the end */
    uint16_t generation; /* counts the lives of this record */
    uint16_t in_flight;  /* operations the kernel holds */

    bool open : 1;
    bool listening : 1;
    bool receiving : 1;  /* driver_receive() or driver_accept() is on */
    bool connecting : 1;
    bool shutting : 1;   /* FIN when the send is done */
    bool closing : 1;
    bool resetting : 1;  /* and with RST */
    bool listed : 1;     /* `next` is in use */

    bool armed : 1;      /* io_uring: the multishot operation (or the poll before it) is with the kernel */
    bool quiet : 1;      /* io_uring: it is to wait by a poll, */
    bool polling : 1;    /* and does */
    bool cancelling : 1; /* io_uring: and was asked to end */

    bool readable : 1;   /* epoll: as far as we know */
    bool writable : 1;
    bool hung_up : 1;    /* epoll: the end or an error waits behind the last byte */
};

static_assert(sizeof(struct driver_socket) == 64, "part of what an idle connection costs");

/* A record for each number a descriptor may have; pages that are never touched
 * cost nothing. */
struct driver_sockets {
    struct driver_socket *records;
    uint32_t count;
    uint32_t top; /* none was ever open beyond */
};

struct driver_socket_list {
    int first, last;
};

int driver_sockets_init(struct driver_sockets *sockets);
/* Closes what is open. */
void driver_sockets_fini(struct driver_sockets *sockets);
/* A new life for the record of `descriptor`, or NULL beyond the last. */
struct driver_socket *driver_socket_open(struct driver_sockets *sockets, int descriptor);
/* Of an open socket: asserts so. */
struct driver_socket *driver_socket_at(struct driver_sockets *sockets, int descriptor);
/* The record is free; the descriptor is not closed. */
void driver_socket_forget(struct driver_socket *socket);
/* Forgets it and closes the descriptor, orderly or with RST. */
void driver_socket_close(struct driver_socket *socket);

void driver_socket_list_init(struct driver_socket_list *list);
void driver_socket_list_add(struct driver_sockets *sockets, struct driver_socket_list *list,
                            struct driver_socket *socket);
/* NULL when it is empty. */
struct driver_socket *driver_socket_list_take(struct driver_sockets *sockets, struct driver_socket_list *list);

/* Takes it off the list, if it is on it. */
void driver_socket_list_remove(struct driver_sockets *sockets, struct driver_socket_list *list,
                               struct driver_socket *socket);

/* The system calls.  A descriptor, or -errno. */
int driver_kernel_listen(const struct sockaddr *address, socklen_t address_length, unsigned flags,
                         struct sockaddr_storage *bound);
int driver_kernel_connect(const struct sockaddr *address, socklen_t address_length);
/* Of a connect that is over: 0 or -errno. */
int driver_kernel_connected(int descriptor);
/* Accept is to be tried again: the connection died, not our means. */
bool driver_kernel_accept_again(int error);

/* Operations that are the same in both. */
uint64_t driver_kernel_now_ns(struct driver *driver);
uint64_t driver_kernel_wall_ns(struct driver *driver);
void driver_kernel_entropy(struct driver *driver, void *out, size_t length);
int driver_kernel_names(struct driver *driver, int socket, struct sockaddr_storage *local,
                        struct sockaddr_storage *remote);
uint64_t driver_kernel_acknowledged(struct driver *driver, int socket);

/* A wake by eventfd.  `pending` is atomic: set by whoever wakes, after its mail
 * was pushed; taken back by the driver at the end of its turn, before the worker
 * looks at its mail.  Both exchange it, so that one of the two sees the other. */
struct driver_waker {
    int descriptor;
    int pending;
};

int driver_waker_init(struct driver_waker *waker);
void driver_waker_fini(struct driver_waker *waker);
/* True when the caller is to wake it, and counted. */
bool driver_waker_begin(struct driver *driver, struct driver_waker *waker);
void driver_waker_signal(struct driver_waker *waker);
void driver_waker_end(struct driver_waker *waker);

/* Foreign descriptors.  A record in use has an owner. */
struct driver_watch {
    struct actor_ref owner;
    int descriptor;
    uint32_t generation;
    unsigned events;
};

struct driver_watches {
    struct driver_watch records[DRIVER_WATCHES_MAX];
    unsigned used; /* none beyond */
};

/* NULL: not watched. */
struct driver_watch *driver_watch_find(struct driver_watches *watches, int descriptor);
/* NULL: all are in use. */
struct driver_watch *driver_watch_open(struct driver_watches *watches, int descriptor, unsigned events,
                                       struct actor_ref owner);
void driver_watch_close(struct driver_watches *watches, struct driver_watch *watch);
/* The record that a completion means, or NULL when it comes too late;
 * `generation` under DRIVER_GENERATION_MASK. */
struct driver_watch *driver_watch_at(struct driver_watches *watches, uint32_t index, uint32_t generation);

#endif
