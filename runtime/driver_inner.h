#ifndef RUNTIME_DRIVER_INNER_H
#define RUNTIME_DRIVER_INNER_H

#include "runtime/driver.h"

/* What stands behind driver.h: for the drivers and their tests alone. */

struct driver_operations {
    const char *name;
    unsigned (*turn)(struct driver *driver, uint64_t deadline_ns);
    void (*wake)(struct driver *driver);
    int (*descriptor)(struct driver *driver);
    uint64_t (*due)(struct driver *driver);
    void (*free)(struct driver *driver);
    uint64_t (*now_ns)(struct driver *driver);
    uint64_t (*wall_ns)(struct driver *driver);
    void (*entropy)(struct driver *driver, void *out, size_t length);
    int (*listen)(struct driver *driver, const struct sockaddr *address, socklen_t address_length, unsigned flags,
                  struct sockaddr_storage *bound);
    void (*accept)(struct driver *driver, int listening, struct actor_ref owner);
    void (*accept_stop)(struct driver *driver, int listening);
    int (*connect)(struct driver *driver, const struct sockaddr *address, socklen_t address_length,
                   struct actor_ref owner);
    void (*adopt)(struct driver *driver, int socket);
    void (*release)(struct driver *driver, int socket);
    void (*receive)(struct driver *driver, int socket, struct actor_ref owner);
    void (*receive_quietly)(struct driver *driver, int socket); /* NULL: quiet as it is */
    void (*receive_stop)(struct driver *driver, int socket);
    void (*receive_into)(struct driver *driver, int socket, struct actor_ref owner, struct buffer *buffer,
                         uint32_t offset);
    bool (*receive_idle)(struct driver *driver, int socket);
    void (*send)(struct driver *driver, int socket, struct actor_ref owner, struct buffer *buffer, uint32_t offset,
                 uint32_t length);
    void (*shutdown_write)(struct driver *driver, int socket);
    void (*close_socket)(struct driver *driver, int socket, enum driver_close_how how);
    int (*names)(struct driver *driver, int socket, struct sockaddr_storage *local,
                 struct sockaddr_storage *remote);
    uint64_t (*acknowledged)(struct driver *driver, int socket);
    void (*watch)(struct driver *driver, int descriptor, unsigned events, struct actor_ref owner);
    void (*unwatch)(struct driver *driver, int descriptor);
};

/* The head of each driver's own struct. */
struct driver {
    const struct driver_operations *operations;
    struct worker *worker;
    struct buffer_pool *pool;
    /* worker_deliver(), but in the tests of the drivers, which have no worker. */
    void (*deliver)(struct worker *worker, struct message *message);
    uint64_t delivered; /* messages, ever */
    uint64_t sent;      /* those of them that tell of a send */
    struct driver_stats stats; /* but `wakes`, which is below */
    uint64_t wakes;            /* atomic */
};

void driver_init(struct driver *driver, const struct driver_operations *operations, struct worker *worker,
                 struct buffer_pool *pool);
/* A completion becomes mail.  The buffer's reference goes with it. */
void driver_deliver(struct driver *driver, enum message_type type, struct actor_ref to, int64_t result,
                    int64_t socket);
void driver_deliver_bytes(struct driver *driver, struct actor_ref to, int64_t result, int64_t socket,
                          struct buffer *buffer, uint32_t offset);

/* What io_uring may lack, or a test take away. */
enum uring_feature {
    URING_DEFER = 1,    /* SINGLE_ISSUER and DEFER_TASKRUN: Linux 6.1 */
    URING_COOP = 2,     /* COOP_TASKRUN and SUBMIT_ALL: 5.19 */
    URING_RING_FD = 4,  /* the ring's descriptor registered: 5.18 */
    URING_MSG_WAKE = 8, /* IORING_REGISTER_SEND_MSG_RING: 6.13 */
    URING_ALL = 15,
};

struct driver *driver_uring_new_with(struct worker *worker, struct buffer_pool *pool, unsigned features,
                                     int *error);

#endif
