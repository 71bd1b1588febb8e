#ifndef BENCH_DIAL_H
#define BENCH_DIAL_H

/* Connects over TCP to "HOST:PORT", "[IPV6]:PORT" or, where there is a port
 * `otherwise` (NULL: none), "HOST": to each address of the host in turn, until
 * `until_s` of bench_now_s(), though names are looked up for as long as the
 * resolver takes.  The descriptor is the caller's, blocking, without Nagle's
 * algorithm; or -1, and *reason says why until the next call. */
int dial_tcp(const char *address, const char *otherwise, double until_s, const char **reason);

#endif
