#ifndef RUNTIME_DRIVER_H
#define RUNTIME_DRIVER_H

#include "runtime/message.h"

#include <sys/socket.h>

/* The door to the world: sockets, time, chance, sleep.  Three drivers stand
 * behind it: io_uring, epoll, and the simulator (driver_sim.h).  All calls are
 * made by the thread that turns the driver, always the same one (io_uring
 * asserts so), but: driver_wake(), which any thread may make; clocks and entropy,
 * too, in a runtime with threads; and making and freeing it, before its first
 * and after its last turn.
 *
 * Sockets are small integers that only their driver understands (a descriptor
 * for the real ones).  An operation names the actor that its completion goes
 * to, as one message of kind CONTROL.  Nothing runs where it is reaped: an
 * operation is carried out, and completes, in a driver_turn().
 *
 * Buffers given to an operation belong to the driver until it completes.
 * driver_close_socket() ends all messages about that socket, but those that are
 * in a mailbox already; the driver cancels what is in flight, waits for it,
 * returns the buffers and closes the descriptor by itself.  The number may then
 * be a new socket's: an actor with more than one at a time remembers which it
 * has open. */

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
    /* SO_REUSEPORT: a sibling of a socket listened on before.  That first one is
     * bound without it, so that a taken port fails. */
    DRIVER_LISTEN_SHARED = 2,
};

enum driver_limits {
    /* A worker's multishot receive ring, of BUFFER_SMALL_BYTES: what comes at
     * 1 GB/s in the 2 ms that a turn may take. */
    DRIVER_RECEIVE_RING_BUFFERS = 512,
    DRIVER_LISTEN_BACKLOG_CONNECTIONS = 1024, /* rust's; net.core.somaxconn cuts it */
    DRIVER_NOTSENT_LOWAT_BYTES = 262144,     /* keeps pongs near the wire; one large send */
    DRIVER_SOCKETS_MAX = 1 << 20,            /* the kernel's fs.nr_open: beyond, -EMFILE */
    DRIVER_WATCHES_MAX = 256,                /* netlink and c-ares' sockets; beyond, MESSAGE_IO_READY with -ENOSPC */
};

/* How soon a receive that found the pool of buffers at its bound looks again. */
#define DRIVER_STARVED_RETRY_NS 5000000ull

struct driver;
struct worker;
struct buffer;
struct buffer_pool;

struct driver_stats {
    uint64_t turns;
    uint64_t waits;     /* turns that slept */
    uint64_t wakes;     /* wakes sent to this driver that cost a system call */
    uint64_t syscalls;  /* kernel entries */
    uint64_t operations_in_flight; /* armed receives and accepts, and cancels under way, count too */
    uint64_t sockets_open;         /* and those still closing */
};

/* NULL with *error = -errno: the kernel refuses it or lacks what it needs. */
struct driver *driver_uring_new(struct worker *worker, struct buffer_pool *pool, int *error);
struct driver *driver_epoll_new(struct worker *worker, struct buffer_pool *pool, int *error);

/* One kernel entry: hands over what was gathered, waits until `deadline_ns`
 * (0: do not wait; UINT64_MAX: until something happens) and turns completions
 * into mail of the worker.  Returns the number of messages made.  May return
 * before the deadline with none. */
unsigned driver_turn(struct driver *driver, uint64_t deadline_ns);
/* How many it has made, ever, but for those that tell of a send: what others did. */
uint64_t driver_arrived(const struct driver *driver);
/* Any thread: ends a wait, now or the next one.  Costs a system call only if no
 * other wake came since the last turn ended. */
void driver_wake(struct driver *driver);
/* A descriptor that is readable when the driver has completions, for a host that
 * polls, or -1; perhaps until the next turn, too.  Any thread, but not two at a
 * time. */
int driver_descriptor(struct driver *driver);
/* When the driver has something to do though nothing happens: 0 at once,
 * UINT64_MAX never. */
uint64_t driver_due(struct driver *driver);
/* Operations in flight must be 0: asserts so.  Sockets still open are closed. */
void driver_free(struct driver *driver);

uint64_t driver_now_ns(struct driver *driver);  /* monotonic */
uint64_t driver_wall_ns(struct driver *driver); /* since 1970; may jump */
void driver_entropy(struct driver *driver, void *out, size_t length);
const char *driver_name(const struct driver *driver);
void driver_stats_read(const struct driver *driver, struct driver_stats *out);

/* Binds and listens.  Returns a socket, or -errno.  *bound is the address with
 * the port that the system chose. */
int driver_listen(struct driver *driver, const struct sockaddr *address, socklen_t address_length, unsigned flags,
                  struct sockaddr_storage *bound);
/* MESSAGE_IO_ACCEPTED for each connection until it is stopped or fails: after
 * -EMFILE, -ENFILE, -ENOMEM or -ENOBUFS, said once, it is off: start it again
 * later.  Connections that die before they are accepted are passed over.
 * Accepted sockets have the options of connected ones. */
void driver_accept(struct driver *driver, int listening, struct actor_ref owner);
/* Connections that were accepted at that moment still arrive; the others wait in
 * the backlog. */
void driver_accept_stop(struct driver *driver, int listening);

/* A new socket and its connect: MESSAGE_IO_CONNECTED.  Returns the socket, or
 * -errno (then no message comes). */
int driver_connect(struct driver *driver, const struct sockaddr *address, socklen_t address_length,
                   struct actor_ref owner);

/* A socket accepted by another worker of the same runtime: takes it in.
 * (driver_release gives it up before: no operation may be in flight.)  Who holds
 * a released socket adopts it, if only to close it. */
void driver_adopt(struct driver *driver, int socket);
void driver_release(struct driver *driver, int socket);

/* Who reads: each MESSAGE_IO_RECEIVED hands over a buffer of its own, until the
 * end, an error, or driver_receive_stop(). */
void driver_receive(struct driver *driver, int socket, struct actor_ref owner);
/* Nothing is expected for a while: until the next byte comes, the receive that is
 * on may wait at less cost (io_uring: 608 bytes of the kernel's less), and that
 * byte takes a step more.  A hint: no call, no message and no byte is different.
 * Nothing, when it is off. */
void driver_receive_quietly(struct driver *driver, int socket);
/* Turns it off.  What the kernel had handed over by then still comes, until
 * driver_receive_idle() says that nothing more does: no byte is lost or
 * overtaken.  Both kinds of receive may be asked for again before that.  A
 * driver_receive_into() that still waits ends, too: with -ECANCELED and its
 * buffer, unless bytes come first. */
void driver_receive_stop(struct driver *driver, int socket);
/* One receive into [offset, capacity) of `buffer`, for bulk: as many bytes as
 * are there.  One MESSAGE_IO_RECEIVED with this buffer, at the end and after an
 * error too.  Only after driver_receive_stop(), or where driver_receive() never
 * was on; what is left of it (see there) comes first. */
void driver_receive_into(struct driver *driver, int socket, struct actor_ref owner, struct buffer *buffer,
                         uint32_t offset);
/* No receive of either kind is armed or being cancelled: no message is made any
 * more (mailboxes may still hold some). */
bool driver_receive_idle(struct driver *driver, int socket);

/* Sends bytes [offset, offset + length) of `buffer`; one send in flight a
 * socket.  MESSAGE_IO_SENT says how many were taken: at least 1, maybe fewer
 * than asked; the buffer is unreffed by the driver (keep a reference to send
 * the rest). */
void driver_send(struct driver *driver, int socket, struct actor_ref owner, struct buffer *buffer, uint32_t offset,
                 uint32_t length);

/* FIN after what was sent, and all of the send in flight. */
void driver_shutdown_write(struct driver *driver, int socket);
/* Whatever is in flight is cancelled, a send too.  As with any TCP socket, an
 * orderly close with received bytes that nobody read becomes a reset. */
void driver_close_socket(struct driver *driver, int socket, enum driver_close_how how);

/* Local and remote address of a connected socket.  0 or -errno. */
int driver_names(struct driver *driver, int socket, struct sockaddr_storage *local, struct sockaddr_storage *remote);
/* Bytes the peer's kernel has acknowledged since the connection began: tells a
 * slow taker from one that takes nothing.  0 where it is not known. */
uint64_t driver_acknowledged(struct driver *driver, int socket);

/* Polls a descriptor of a library (c-ares, netlink): one MESSAGE_IO_READY, then
 * it is off until watched again.  `events` are poll(2)'s.  Watching a watched
 * descriptor replaces events and owner.  The simulator has no such descriptors:
 * -EOPNOTSUPP. */
void driver_watch(struct driver *driver, int descriptor, unsigned events, struct actor_ref owner);
/* Before the descriptor is closed: which may be right after.  Nothing, if it is
 * not watched. */
void driver_unwatch(struct driver *driver, int descriptor);

#endif
