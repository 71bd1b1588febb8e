#ifndef RUNTIME_CPUS_H
#define RUNTIME_CPUS_H

/* How many CPUs this process may use: those of its affinity, and no more than
 * the quotas of its cgroups (v2) allow, rounded up.  At least 1. */
unsigned cpus_usable(void);

/* The quota of one cpu.max line ("200000 100000\n", "max 100000\n") in CPUs,
 * rounded up; 0 when there is none or it does not read. */
unsigned cpus_quota(const char *cpu_max);

#endif
