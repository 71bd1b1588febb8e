#ifndef ACTORS_INTERFACES_H
#define ACTORS_INTERFACES_H

#include "actors/node.h"

/* Watches the machine's network interfaces.  When they change, a node that
 * listens on wildcards has other addresses: the application gets
 * ADDRESSES_CHANGED, and peers are told.
 *
 * Each node has one such actor, but those of a worker share one netlink socket
 * and one look at the interfaces: the first of them has it and tells the
 * others, and when it goes the next has it. */

enum interfaces_limits {
    INTERFACES_READS_MAX = 64, /* of the socket in a visit; the rest comes in the next */
};

#define INTERFACES_SETTLE_NS 500000000ull /* changes come in bursts (a cable, a VPN): looked at once */
#define INTERFACES_RETRY_NS 10000000000ull /* after the socket could not be had or watched; looks, too */

extern const struct actor_class interfaces_class;

#endif
