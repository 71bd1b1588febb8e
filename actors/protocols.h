#ifndef ACTORS_PROTOCOLS_H
#define ACTORS_PROTOCOLS_H

#include "actors/node.h"

/* The protocols that a node serves: P2P_PROTOCOLS_MAX, under a lock that
 * readers share.  Names outlive their protocol: whoever holds one may go on
 * reading it until protocols_free(). */

struct protocols;

/* An id that we register or propose: 1 to P2P_PROTOCOL_BYTES_MAX - 1 bytes, none
 * of them a blank or a control character. */
bool protocols_name_is_valid(const char *name, size_t length);

struct protocols *protocols_new(void);
void protocols_free(struct protocols *protocols);
/* Adds one; its name is copied.  P2P_ERR_CALL_INVALID (name), _EXISTS, _FULL,
 * _NOMEM. */
int protocols_add(struct protocols *protocols, const struct protocol *protocol);
/* P2P_ERR_CALL_NOT_FOUND. */
int protocols_remove(struct protocols *protocols, const char *name);
/* As node_protocol_find() and node_protocols(). */
bool protocols_find(struct protocols *protocols, const char *name, size_t name_length, struct protocol *out);
size_t protocols_list(struct protocols *protocols, const char **out, size_t capacity);

#endif
