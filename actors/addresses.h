#ifndef ACTORS_ADDRESSES_H
#define ACTORS_ADDRESSES_H

#include "actors/node.h"

/* Where a node can be reached: what it listens on, with wildcards resolved to
 * the addresses of the interfaces, and the record that it signs of them.  Any
 * thread; one lock that readers share. */

enum addresses_limits {
    ADDRESSES_INTERFACE_MAX = 128,   /* addresses of interfaces looked at; ours: a router with many VLANs */
    ADDRESSES_RECORDS_KEPT = 4,      /* signed records: loopback, private and public remotes, and one that changes */
};

struct addresses;

/* Of the interfaces nothing is known before addresses_set_interfaces(). */
struct addresses *addresses_new(void);
void addresses_free(struct addresses *addresses);

/* A socket is bound there.  P2P_ERR_CALL_FULL beyond P2P_LISTEN_ADDRESSES_MAX. */
int addresses_listen(struct addresses *addresses, const struct sockaddr_storage *bound);
/* Listened on no more. */
void addresses_clear(struct addresses *addresses);
/* The addresses of the machine's interfaces (port 0), in the system's order.
 * Returns how many; -1 when the system does not say.  Asks the kernel. */
int addresses_of_interfaces(struct sockaddr_storage *out, size_t capacity);
/* True when the concrete addresses are others than before. */
bool addresses_set_interfaces(struct addresses *addresses, const struct sockaddr_storage *list, size_t count);

/* The concrete addresses, without /p2p; returns how many there are. */
size_t addresses_list(struct addresses *addresses, struct multiaddr *out, size_t capacity);
/* As node_signed_record().  `wall_ns` becomes the record's number if a new one
 * has to be made. */
int addresses_record(struct addresses *addresses, uint8_t *out, size_t *length, size_t capacity,
                     const struct key *key, const struct multiaddr *list, size_t count, uint64_t wall_ns);

#endif
