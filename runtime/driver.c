#include "runtime/driver_inner.h"

#include "runtime/worker.h"

#include <assert.h>

void driver_init(struct driver *driver, const struct driver_operations *operations, struct worker *worker,
                 struct buffer_pool *pool)
{
    driver->operations = operations;
    driver->worker = worker;
    driver->pool = pool;
    driver->deliver = worker_deliver;
}

void driver_deliver(struct driver *driver, enum message_type type, struct actor_ref to, int64_t result,
                    int64_t socket)
{
    struct message message = {.type = (uint16_t)type, .kind = MESSAGE_CONTROL, .to = to};

    message.body.i64[0] = result;
    message.body.i64[1] = socket;
    driver->delivered++;
    driver->sent += type == MESSAGE_IO_SENT;
    driver->deliver(driver->worker, &message);
}

void driver_deliver_bytes(struct driver *driver, struct actor_ref to, int64_t result, int64_t socket,
                          struct buffer *buffer, uint32_t offset)
{
    struct message message = {.type = MESSAGE_IO_RECEIVED, .kind = MESSAGE_CONTROL, .to = to};

    message.buffer = buffer;
    message.offset = offset;
    message.length = result > 0 ? (uint32_t)result : 0;
    message.body.i64[0] = result;
    message.body.i64[1] = socket;
    driver->delivered++;
    driver->deliver(driver->worker, &message);
}

unsigned driver_turn(struct driver *driver, uint64_t deadline_ns)
{
    driver->stats.turns++;
    return driver->operations->turn(driver, deadline_ns);
}

uint64_t driver_arrived(const struct driver *driver)
{
    return driver->delivered - driver->sent;
}

void driver_wake(struct driver *driver)
{
    driver->operations->wake(driver);
}

int driver_descriptor(struct driver *driver)
{
    return driver->operations->descriptor(driver);
}

uint64_t driver_due(struct driver *driver)
{
    return driver->operations->due(driver);
}

void driver_free(struct driver *driver)
{
    if (driver == NULL)
        return;
    assert(driver->stats.operations_in_flight == 0);
    driver->operations->free(driver);
}

uint64_t driver_now_ns(struct driver *driver)
{
    return driver->operations->now_ns(driver);
}

uint64_t driver_wall_ns(struct driver *driver)
{
    return driver->operations->wall_ns(driver);
}

void driver_entropy(struct driver *driver, void *out, size_t length)
{
    driver->operations->entropy(driver, out, length);
}

const char *driver_name(const struct driver *driver)
{
    return driver->operations->name;
}

void driver_stats_read(const struct driver *driver, struct driver_stats *out)
{
    *out = driver->stats;
    out->wakes = __atomic_load_n(&driver->wakes, __ATOMIC_RELAXED);
    out->syscalls += out->wakes;
}

int driver_listen(struct driver *driver, const struct sockaddr *address, socklen_t address_length, unsigned flags,
                  struct sockaddr_storage *bound)
{
    return driver->operations->listen(driver, address, address_length, flags, bound);
}

void driver_accept(struct driver *driver, int listening, struct actor_ref owner)
{
    driver->operations->accept(driver, listening, owner);
}

void driver_accept_stop(struct driver *driver, int listening)
{
    driver->operations->accept_stop(driver, listening);
}

int driver_connect(struct driver *driver, const struct sockaddr *address, socklen_t address_length,
                   struct actor_ref owner)
{
    return driver->operations->connect(driver, address, address_length, owner);
}

void driver_adopt(struct driver *driver, int socket)
{
    driver->operations->adopt(driver, socket);
}

void driver_release(struct driver *driver, int socket)
{
    driver->operations->release(driver, socket);
}

void driver_receive(struct driver *driver, int socket, struct actor_ref owner)
{
    driver->operations->receive(driver, socket, owner);
}

void driver_receive_quietly(struct driver *driver, int socket)
{
    if (driver->operations->receive_quietly != NULL)
        driver->operations->receive_quietly(driver, socket);
}

void driver_receive_stop(struct driver *driver, int socket)
{
    driver->operations->receive_stop(driver, socket);
}

void driver_receive_into(struct driver *driver, int socket, struct actor_ref owner, struct buffer *buffer,
                         uint32_t offset)
{
    driver->operations->receive_into(driver, socket, owner, buffer, offset);
}

bool driver_receive_idle(struct driver *driver, int socket)
{
    return driver->operations->receive_idle(driver, socket);
}

void driver_send(struct driver *driver, int socket, struct actor_ref owner, struct buffer *buffer, uint32_t offset,
                 uint32_t length)
{
    driver->operations->send(driver, socket, owner, buffer, offset, length);
}

void driver_shutdown_write(struct driver *driver, int socket)
{
    driver->operations->shutdown_write(driver, socket);
}

void driver_close_socket(struct driver *driver, int socket, enum driver_close_how how)
{
    driver->operations->close_socket(driver, socket, how);
}

int driver_names(struct driver *driver, int socket, struct sockaddr_storage *local, struct sockaddr_storage *remote)
{
    return driver->operations->names(driver, socket, local, remote);
}

uint64_t driver_acknowledged(struct driver *driver, int socket)
{
    return driver->operations->acknowledged(driver, socket);
}

void driver_watch(struct driver *driver, int descriptor, unsigned events, struct actor_ref owner)
{
    driver->operations->watch(driver, descriptor, events, owner);
}

void driver_unwatch(struct driver *driver, int descriptor)
{
    driver->operations->unwatch(driver, descriptor);
}
