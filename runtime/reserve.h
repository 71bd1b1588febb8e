#ifndef RUNTIME_RESERVE_H
#define RUNTIME_RESERVE_H

#include <stdbool.h>
#include <stdint.h>

/* Memory set aside for mail that cannot be refused, for when the system gives no
 * more: pages that are not touched before.  What is taken of it goes back with
 * the next turns, as whoever gets the mail runs.  One thread. */

enum reserve_limits {
    RESERVE_UNIT_BYTES = 128, /* a mail slot, or a message that waits for its lane */
    RESERVE_UNITS = 4096,     /* as many as a lane holds; ours */
};

struct reserve_unit;

struct reserve {
    uint8_t *bytes;
    struct reserve_unit *free; /* was used before */
    uint32_t fresh;            /* units from here on were never used */
    uint32_t taken;
};

int reserve_init(struct reserve *reserve); /* 0 or P2P_ERR_CALL_NOMEM */
void reserve_fini(struct reserve *reserve);
/* One unit, or NULL when no more than `kept` are left. */
void *reserve_take(struct reserve *reserve, uint32_t kept);
/* False: it is not of the reserve. */
bool reserve_give(struct reserve *reserve, void *unit);

#endif
