#include "actors/addresses.h"

#include "net/identify.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* A record once signed, and of what. */
struct record {
    uint8_t *bytes;
    size_t length;
    struct multiaddr *list;
    size_t count;
};

struct addresses {
    pthread_rwlock_t lock;
    struct sockaddr_storage bound[P2P_LISTEN_ADDRESSES_MAX];
    size_t bound_count;
    struct multiaddr concrete[NODE_ANNOUNCE_ADDRESSES_MAX];
    size_t concrete_count;
    struct sockaddr_storage interfaces[ADDRESSES_INTERFACE_MAX];
    size_t interface_count;
    pthread_mutex_t record_lock;
    struct record records[ADDRESSES_RECORDS_KEPT];
    unsigned record_next; /* the one to give way */
    uint64_t record_seq;  /* of the newest */
};

struct addresses *addresses_new(void)
{
    struct addresses *addresses = calloc(1, sizeof(*addresses));

    if (!addresses)
        return NULL;
    pthread_rwlock_init(&addresses->lock, NULL);
    pthread_mutex_init(&addresses->record_lock, NULL);
    return addresses;
}

static void record_fini(struct record *record)
{
    free(record->bytes);
    free(record->list);
    memset(record, 0, sizeof(*record));
}

void addresses_free(struct addresses *addresses)
{
    if (!addresses)
        return;
    for (unsigned i = 0; i < ADDRESSES_RECORDS_KEPT; i++)
        record_fini(&addresses->records[i]);
    pthread_mutex_destroy(&addresses->record_lock);
    pthread_rwlock_destroy(&addresses->lock);
    free(addresses);
}

static bool is_wildcard(const struct sockaddr_storage *address)
{
    if (address->ss_family == AF_INET)
        return ((const struct sockaddr_in *)address)->sin_addr.s_addr == htonl(INADDR_ANY);
    return address->ss_family == AF_INET6 &&
           IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)address)->sin6_addr);
}

static void set_port(struct sockaddr_storage *address, const struct sockaddr_storage *from)
{
    if (address->ss_family == AF_INET)
        ((struct sockaddr_in *)address)->sin_port = ((const struct sockaddr_in *)from)->sin_port;
    else
        ((struct sockaddr_in6 *)address)->sin6_port = ((const struct sockaddr_in6 *)from)->sin6_port;
}

static size_t append(struct multiaddr *list, size_t count, const struct sockaddr_storage *address)
{
    struct multiaddr next;

    if (count == NODE_ANNOUNCE_ADDRESSES_MAX ||
        multiaddr_from_sockaddr(&next, (const struct sockaddr *)address) < 0)
        return count;
    for (size_t i = 0; i < count; i++)
        if (multiaddr_equal(&list[i], &next))
            return count;
    list[count] = next;
    return count + 1;
}

/* Each bound address, a wildcard as those of the interfaces of its family. */
static size_t resolve(const struct addresses *addresses, struct multiaddr *list)
{
    size_t count = 0;

    for (size_t i = 0; i < addresses->bound_count; i++) {
        const struct sockaddr_storage *bound = &addresses->bound[i];
        if (!is_wildcard(bound)) {
            count = append(list, count, bound);
            continue;
        }
        for (size_t j = 0; j < addresses->interface_count; j++) {
            struct sockaddr_storage address = addresses->interfaces[j];
            if (address.ss_family != bound->ss_family)
                continue;
            set_port(&address, bound);
            count = append(list, count, &address);
        }
    }
    return count;
}

/* Addresses that come back must get a newer record than those between. */
static void forget_records(struct addresses *addresses)
{
    pthread_mutex_lock(&addresses->record_lock);
    for (unsigned i = 0; i < ADDRESSES_RECORDS_KEPT; i++)
        record_fini(&addresses->records[i]);
    pthread_mutex_unlock(&addresses->record_lock);
}

/* Under the lock, after a change.  True when the outcome is another. */
static bool refresh(struct addresses *addresses)
{
    struct multiaddr list[NODE_ANNOUNCE_ADDRESSES_MAX];
    size_t count = resolve(addresses, list);
    bool changed = count != addresses->concrete_count;

    for (size_t i = 0; i < count && !changed; i++)
        changed = !multiaddr_equal(&list[i], &addresses->concrete[i]);
    memcpy(addresses->concrete, list, count * sizeof(list[0]));
    addresses->concrete_count = count;
    if (changed)
        forget_records(addresses);
    return changed;
}

int addresses_listen(struct addresses *addresses, const struct sockaddr_storage *bound)
{
    int error = P2P_ERR_CALL_FULL;

    pthread_rwlock_wrlock(&addresses->lock);
    if (addresses->bound_count < P2P_LISTEN_ADDRESSES_MAX) {
        addresses->bound[addresses->bound_count++] = *bound;
        refresh(addresses);
        error = 0;
    }
    pthread_rwlock_unlock(&addresses->lock);
    return error;
}

void addresses_clear(struct addresses *addresses)
{
    pthread_rwlock_wrlock(&addresses->lock);
    addresses->bound_count = 0;
    addresses->concrete_count = 0;
    pthread_rwlock_unlock(&addresses->lock);
}

/* Link-local IPv6 addresses mean nothing without a zone, which differs on
 * every machine. */
static bool worth_telling(const struct sockaddr *address)
{
    if (!address)
        return false;
    if (address->sa_family == AF_INET6)
        return !IN6_IS_ADDR_LINKLOCAL(&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr);
    return address->sa_family == AF_INET;
}

int addresses_of_interfaces(struct sockaddr_storage *out, size_t capacity)
{
    struct ifaddrs *list;
    size_t count = 0;

    if (getifaddrs(&list) < 0)
        return -1;
    for (const struct ifaddrs *at = list; at && count < capacity; at = at->ifa_next) {
        if (!(at->ifa_flags & IFF_UP) || !worth_telling(at->ifa_addr))
            continue;
        memset(&out[count], 0, sizeof(out[count]));
        memcpy(&out[count], at->ifa_addr,
               at->ifa_addr->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
        count++;
    }
    freeifaddrs(list);
    return (int)count;
}

bool addresses_set_interfaces(struct addresses *addresses, const struct sockaddr_storage *list, size_t count)
{
    if (count > ADDRESSES_INTERFACE_MAX)
        count = ADDRESSES_INTERFACE_MAX;
    pthread_rwlock_wrlock(&addresses->lock);
    memcpy(addresses->interfaces, list, count * sizeof(*list));
    addresses->interface_count = count;
    bool changed = refresh(addresses);
    pthread_rwlock_unlock(&addresses->lock);
    return changed;
}

size_t addresses_list(struct addresses *addresses, struct multiaddr *out, size_t capacity)
{
    pthread_rwlock_rdlock(&addresses->lock);
    size_t count = addresses->concrete_count;
    if (capacity > 0)
        memcpy(out, addresses->concrete, (count < capacity ? count : capacity) * sizeof(*out));
    pthread_rwlock_unlock(&addresses->lock);
    return count;
}

/* ---- the signed record ---- */

static bool is_record_of(const struct record *record, const struct multiaddr *list, size_t count)
{
    if (!record->bytes || record->count != count)
        return false;
    for (size_t i = 0; i < count; i++)
        if (!multiaddr_equal(&record->list[i], &list[i]))
            return false;
    return true;
}

static int make_record(struct addresses *addresses, struct record *record, const struct key *key,
                       const struct multiaddr *list, size_t count, uint64_t wall_ns)
{
    uint64_t seq = wall_ns > addresses->record_seq ? wall_ns : addresses->record_seq + 1;
    uint8_t bytes[IDENTIFY_RECORD_BYTES_MAX];
    size_t length = 0;
    int error = peer_record_seal(bytes, sizeof(bytes), &length, key, seq, list, count);

    if (error)
        return error;
    record_fini(record);
    record->bytes = malloc(length);
    record->list = malloc(count * sizeof(*list) + 1);
    if (!record->bytes || !record->list) {
        record_fini(record);
        return P2P_ERR_CALL_NOMEM;
    }
    memcpy(record->bytes, bytes, length);
    memcpy(record->list, list, count * sizeof(*list));
    record->length = length;
    record->count = count;
    addresses->record_seq = seq;
    return 0;
}

/* Signing costs more than the rest of a handshake's replies: the same addresses
 * are signed once. */
int addresses_record(struct addresses *addresses, uint8_t *out, size_t *length, size_t capacity,
                     const struct key *key, const struct multiaddr *list, size_t count, uint64_t wall_ns)
{
    struct record *record = NULL;
    int error = 0;

    pthread_mutex_lock(&addresses->record_lock);
    for (unsigned i = 0; i < ADDRESSES_RECORDS_KEPT && !record; i++)
        if (is_record_of(&addresses->records[i], list, count))
            record = &addresses->records[i];
    if (!record) {
        record = &addresses->records[addresses->record_next++ % ADDRESSES_RECORDS_KEPT];
        error = make_record(addresses, record, key, list, count, wall_ns);
    }
    if (!error && record->length > capacity)
        error = P2P_ERR_CALL_SHORT;
    if (!error) {
        memcpy(out, record->bytes, record->length);
        *length = record->length;
    }
    pthread_mutex_unlock(&addresses->record_lock);
    return error;
}
