#ifndef RUNTIME_PROBE_H
#define RUNTIME_PROBE_H

/* USDT probes, provider chorus_p2p: PROBE(turn, worker, number).  A no-op
 * instruction each; nothing at all where systemtap-sdt-dev is missing. */

#if defined(__has_include)
#if __has_include(<sys/sdt.h>)
#include <sys/sdt.h>
#define PROBE(name, a, b) DTRACE_PROBE2(chorus_p2p, name, a, b)
#endif
#endif

#ifndef PROBE
#define PROBE(name, a, b) ((void)(a), (void)(b))
#endif

#endif
