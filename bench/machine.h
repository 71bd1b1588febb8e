#ifndef BENCH_MACHINE_H
#define BENCH_MACHINE_H

#include <jansson.h>
#include <stdbool.h>

/* Where a run happens, and making that place the same for all sides. */

struct machine_place {
    bool apart;     /* in a network namespace of its own, with nothing but loopback */
    char reason[160]; /* why not */
};

/* Moves this process, and all that it starts, into a network namespace with
 * loopback, cubic and a wide range of ports.  Where that is refused, nothing
 * changes, and the place says why. */
void machine_enter(struct machine_place *place);
/* What figures depend on: CPUs, kernel, congestion control (as a connection over
 * loopback has it), limits.  The caller's. */
json_t *machine_facts(const struct machine_place *place);
/* As many descriptors as the hard limit allows. */
void machine_raise_descriptors(void);

#endif
