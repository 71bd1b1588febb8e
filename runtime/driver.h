#ifndef RUNTIME_DRIVER_H
#define RUNTIME_DRIVER_H

#include "runtime/message.h"

#include <sys/socket.h>

/* The door to the world: sockets, time, chance, sleep.  Three drivers stand
 * behind it: io_uring, epoll, and the simulator.  All calls are made by the
 * worker that owns the driver, but driver_wake(), which any thread may make.
 *
 * Sockets are small integers that only their driver understands (a descriptor
 * for the real ones).  An operation names the actor that its completion goes
 * to, as one message.  Nothing runs where it is reaped.
 *
 * Buffers given to an operation belong to the driver until it completes.
 * After driver_close_socket() no message about that socket arrives any more;
 * the driver cancels what is in flight, waits for it, returns the buffers and
 * closes the descriptor by itself. */

enum driver_kind {
    DRIVER_AUTO = 0, /* io_uring where the kernel grants it, else epoll, said once in the log */
    DRIVER_URING,
    DRIVER_EPOLL,
    DRIVER_SIM,
};

enum driver_close_how {
    DRIVER_CLOSE_ORDERLY, /* FIN after what is queued in the kernel */
    DRIVER_CLOSE_RESET,   /* RST: linger 0 */
};

enum driver_listen_flags {
    DRIVER_LISTEN_V6ONLY = 1,
    DRIVER_LISTEN_SHARED = 2, /* SO_REUSEPORT: a sibling of a socket listened on before */
};

enum driver_limits {
    DRIVER_RECEIVE_RING_BUFFERS = 512,       /* a worker's multishot receive ring, of BUFFER_SMALL_BYTES */
    DRIVER_LISTEN_BACKLOG_CONNECTIONS = 1024, /* rust's; net.core.somaxconn cuts it */
    DRIVER_NOTSENT_LOWAT_BYTES = 262144,     /* keeps pongs near the wire; one large send */
};

struct driver;
struct worker;
struct buffer;
struct buffer_pool;

struct driver_stats {
    uint64_t turns;
    uint64_t waits;     /* turns that slept */
    uint64_t wakes;     /* wakes sent to this driver that cost a system call */
    uint64_t syscalls;  /* kernel entries */
    uint64_t operations_in_flight;
    uint64_t sockets_open;
};

struct driver *driver_uring_new(struct worker *worker, struct buffer_pool *pool, int *error);
struct driver *driver_epoll_new(struct worker *worker, struct buffer_pool *pool, int *error);

/* One kernel entry: hands over what was gathered, waits until `deadline_ns`
 * (0: do not wait; UINT64_MAX: until something happens) and turns completions
 * into mail of the worker.  Returns the number of completions. */
unsigned driver_turn(struct driver *driver, uint64_t deadline_ns);
/* Any thread: ends a wait, now or the next one. */
void driver_wake(struct driver *driver);
/* A descriptor that is readable when the driver has completions (for
 * p2p_runtime_turn hosts that poll), or -1. */
int driver_descriptor(struct driver *driver);
void driver_free(struct driver *driver); /* operations in flight must be 0 */

uint64_t driver_now_ns(struct driver *driver);  /* monotonic */
uint64_t driver_wall_ns(struct driver *driver); /* since 1970; may jump */
void driver_entropy(struct driver *driver, void *out, size_t length);
const char *driver_name(const struct driver *driver);
void driver_stats_read(const struct driver *driver, struct driver_stats *out);

/* Binds and listens.  Returns a socket, or -errno.  *bound is the address with
 * the port that the system chose. */
int driver_listen(struct driver *driver, const struct sockaddr *address, socklen_t address_length, unsigned flags,
                  struct sockaddr_storage *bound);
/* MESSAGE_IO_ACCEPTED for each connection until it is stopped or fails.  After
 * -EMFILE, -ENFILE or -ENOMEM it is off: start it again later. */
void driver_accept(struct driver *driver, int listening, struct actor_ref owner);
void driver_accept_stop(struct driver *driver, int listening);

/* A new socket and its connect: MESSAGE_IO_CONNECTED.  Returns the socket, or
 * -errno (then no message comes). */
int driver_connect(struct driver *driver, const struct sockaddr *address, socklen_t address_length,
                   struct actor_ref owner);

/* A socket accepted by another worker of the same runtime: takes it in.
 * (driver_release gives it up before: no operation may be in flight.) */
void driver_adopt(struct driver *driver, int socket);
void driver_release(struct driver *driver, int socket);

/* Who reads: each MESSAGE_IO_RECEIVED hands over a buffer of its own, until the
 * end, an error, or driver_receive_stop(). */
void driver_receive(struct driver *driver, int socket, struct actor_ref owner);
/* No more messages of driver_receive() are made (those in the mailbox still
 * arrive). */
void driver_receive_stop(struct driver *driver, int socket);
/* One receive into [offset, capacity) of `buffer`, for bulk: as many bytes as
 * are there.  One MESSAGE_IO_RECEIVED with this buffer.  Only while
 * driver_receive() is off and settled for this socket (see
 * driver_receive_idle()). */
void driver_receive_into(struct driver *driver, int socket, struct actor_ref owner, struct buffer *buffer,
                         uint32_t offset);
/* No receive of either kind is armed or being cancelled. */
bool driver_receive_idle(struct driver *driver, int socket);

/* Sends bytes [offset, offset + length) of `buffer`; one send in flight a
 * socket.  MESSAGE_IO_SENT says how many were taken: at least 1, maybe fewer
 * than asked; the buffer is unreffed by the driver (keep a reference to send
 * the rest).  When `and_receive` the kernel may take it in the same entry as
 * the next wait. */
void driver_send(struct driver *driver, int socket, struct actor_ref owner, struct buffer *buffer, uint32_t offset,
                 uint32_t length);

/* FIN after what was sent. */
void driver_shutdown_write(struct driver *driver, int socket);
void driver_close_socket(struct driver *driver, int socket, enum driver_close_how how);

/* Local and remote address of a connected socket.  0 or -errno. */
int driver_names(struct driver *driver, int socket, struct sockaddr_storage *local, struct sockaddr_storage *remote);
/* Bytes the peer's kernel has acknowledged since the connection began: tells a
 * slow taker from one that takes nothing.  0 where it is not known. */
uint64_t driver_acknowledged(struct driver *driver, int socket);

/* Polls a descriptor of a library (c-ares, netlink): one MESSAGE_IO_READY, then
 * it is off until watched again.  `events` are poll(2)'s. */
void driver_watch(struct driver *driver, int descriptor, unsigned events, struct actor_ref owner);
void driver_unwatch(struct driver *driver, int descriptor);

#endif
