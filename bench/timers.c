#include "bench.h"

#include "runtime/timers.h"

#include <stdlib.h>

/* The deadlines of a worker that holds many: armed, moved later (what a busy
 * connection does with each packet), taken away, and expired in order. */

enum { TIMERS = 100000 };

struct crowd {
    struct timers timers;
    struct timer *all;
    uint32_t *order; /* of touching them: not that of memory */
    uint64_t random;
};

/* splitmix64. */
static uint64_t draw(struct crowd *crowd)
{
    uint64_t mixed = (crowd->random += 0x9e3779b97f4a7c15u);

    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
    return mixed ^ (mixed >> 31);
}

static void crowd_init(struct crowd *crowd)
{
    *crowd = (struct crowd){.all = calloc(TIMERS, sizeof(*crowd->all)),
                            .order = calloc(TIMERS, sizeof(*crowd->order)), .random = 1};
    if (crowd->all == NULL || crowd->order == NULL)
        bench_die("no memory for timers");
    timers_init(&crowd->timers);
    for (uint32_t i = 0; i < TIMERS; i++) {
        uint32_t other = (uint32_t)(draw(crowd) % (i + 1));

        timer_init(&crowd->all[i]);
        if (timers_reserve(&crowd->timers) != 0)
            bench_die("no memory for timers");
        crowd->order[i] = crowd->order[other];
        crowd->order[other] = i;
    }
}

static void crowd_fini(struct crowd *crowd)
{
    for (uint32_t i = 0; i < TIMERS; i++)
        timers_release(&crowd->timers, &crowd->all[i]);
    timers_fini(&crowd->timers);
    free(crowd->all);
    free(crowd->order);
}

/* Arms all between `from_ns` and twice that; nanoseconds for each. */
static double arm_all(struct crowd *crowd, uint64_t from_ns)
{
    double begin_s = bench_thread_cpu_s();

    for (uint32_t i = 0; i < TIMERS; i++)
        timers_arm(&crowd->timers, &crowd->all[crowd->order[i]], from_ns + draw(crowd) % from_ns);
    return (bench_thread_cpu_s() - begin_s) / TIMERS * 1e9;
}

static double disarm_all(struct crowd *crowd)
{
    double begin_s = bench_thread_cpu_s();

    for (uint32_t i = 0; i < TIMERS; i++)
        timers_arm(&crowd->timers, &crowd->all[crowd->order[i]], TIMER_NEVER);
    return (bench_thread_cpu_s() - begin_s) / TIMERS * 1e9;
}

static double expire_all(struct crowd *crowd, uint64_t now_ns)
{
    double begin_s = bench_thread_cpu_s();
    unsigned count = 0;

    while (timers_due(&crowd->timers, now_ns) != NULL)
        count++;
    if (count != TIMERS)
        bench_die("%u of %d timers were due", count, TIMERS);
    return (bench_thread_cpu_s() - begin_s) / TIMERS * 1e9;
}

int bench_timers(const struct bench_options *options)
{
    struct bench_samples arm = {0}, later = {0}, disarm = {0}, expire = {0};
    const uint64_t second_ns = 1000000000;

    for (unsigned run = 0; run < options->runs; run++) {
        struct crowd crowd;

        crowd_init(&crowd);
        bench_add(&arm, arm_all(&crowd, second_ns));
        bench_add(&later, arm_all(&crowd, 4 * second_ns));
        bench_add(&expire, expire_all(&crowd, 8 * second_ns));
        (void)arm_all(&crowd, second_ns);
        bench_add(&disarm, disarm_all(&crowd));
        crowd_fini(&crowd);
    }
    bench_row(options, "timer of 100,000, armed", "ns", &arm, NULL, NULL);
    bench_row(options, "timer of 100,000, moved later", "ns", &later, NULL, NULL);
    bench_row(options, "timer of 100,000, taken away", "ns", &disarm, NULL, NULL);
    bench_row(options, "timer of 100,000, moved once and expired", "ns", &expire, NULL, NULL);
    return 0;
}
