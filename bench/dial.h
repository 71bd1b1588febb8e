#ifndef BENCH_DIAL_H
#define BENCH_DIAL_H

#include <stdbool.h>

/* Connects over TCP to "HOST:PORT", "[IPV6]:PORT" or, where there is a port
 * `otherwise` (NULL: none), "HOST": to each address of the host in turn, until
 * `until_s` of bench_now_s(), though names are looked up for as long as the
 * resolver takes.  The descriptor is the caller's, blocking, without Nagle's
 * algorithm; or -1, and *reason says why until the next call. */
int dial_tcp(const char *address, const char *otherwise, double until_s, const char **reason);

/* Waits until a descriptor is ready for `events` of poll(), or has failed.  False
 * when it is not at `until_s`; what is ready by then is in time, even if this
 * process looks late. */
bool dial_wait(int fd, short events, double until_s);

#endif
