#ifndef ACTORS_HOSTS_H
#define ACTORS_HOSTS_H

#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>

/* The system's hosts file (hosts(5)), and the names that never leave the
 * machine (RFC 6761, 6.3: localhost). */

enum hosts_limits {
    HOSTS_ADDRESSES_MAX = 16, /* of one name; more are left out */
    HOSTS_BYTES_MAX = 4 << 20, /* of the file that are read */
};

/* The addresses of localhost and names under it; 0 for other names. */
size_t hosts_local(struct sockaddr_storage *out, size_t capacity, const char *name, int family);
/* Those that the file has for `name`; `family` AF_UNSPEC for both.  Blocks. */
size_t hosts_find(struct sockaddr_storage *out, size_t capacity, FILE *file, const char *name, int family);

#endif
