#include "runtime/reserve.h"

#include "chorus/p2p.h"

#include <stddef.h>
#include <sys/mman.h>

enum { RESERVE_BYTES = RESERVE_UNITS * RESERVE_UNIT_BYTES };

struct reserve_unit {
    struct reserve_unit *next;
};

int reserve_init(struct reserve *reserve)
{
    void *bytes = mmap(NULL, RESERVE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *reserve = (struct reserve){.bytes = bytes == MAP_FAILED ? NULL : bytes};
    return reserve->bytes ? 0 : P2P_ERR_CALL_NOMEM;
}

void reserve_fini(struct reserve *reserve)
{
    if (reserve->bytes)
        munmap(reserve->bytes, RESERVE_BYTES);
    reserve->bytes = NULL;
}

void *reserve_take(struct reserve *reserve, uint32_t kept)
{
    struct reserve_unit *unit = reserve->free;
    if (reserve->taken + kept >= RESERVE_UNITS)
        return NULL;
    if (unit)
        reserve->free = unit->next;
    else
        unit = (struct reserve_unit *)(void *)(reserve->bytes + (size_t)reserve->fresh++ * RESERVE_UNIT_BYTES);
    reserve->taken++;
    return unit;
}

bool reserve_give(struct reserve *reserve, void *memory)
{
    struct reserve_unit *unit = memory;
    if ((uintptr_t)memory - (uintptr_t)reserve->bytes >= RESERVE_BYTES)
        return false;
    unit->next = reserve->free;
    reserve->free = unit;
    reserve->taken--;
    return true;
}
