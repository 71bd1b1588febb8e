#ifndef ACTORS_INTERFACES_H
#define ACTORS_INTERFACES_H

#include "actors/node.h"

/* Watches the machine's network interfaces.  When they change, a node that
 * listens on wildcards has other addresses: the application gets
 * ADDRESSES_CHANGED, and peers are told. */

#define INTERFACES_SETTLE_NS 500000000ull /* changes come in bursts (a cable, a VPN): looked at once */

extern const struct actor_class interfaces_class;

#endif
