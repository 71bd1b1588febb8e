#ifndef RUNTIME_HOST_H
#define RUNTIME_HOST_H

#include <stdint.h>

/* The descriptor by which a host's own loop learns that a runtime without
 * threads has something to do: readable while its driver has completions, and
 * once a timer is due. */

struct host {
    int descriptor; /* atomic; -1: nobody has asked */
    int timer;
    uint64_t armed_ns; /* when the timer makes it readable; UINT64_MAX: never */
};

void host_init(struct host *host);
void host_fini(struct host *host);
/* Makes it of the driver's descriptor, readable from the beginning: the first
 * turn says when the next is due.  Returns the descriptor, or -errno.  Not from
 * two threads at a time. */
int host_open(struct host *host, int driver_descriptor);
/* At the end of a turn: the next is due at `due_ns`. */
void host_due(struct host *host, uint64_t due_ns, uint64_t now_ns);

#endif
