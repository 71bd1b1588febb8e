#ifndef ACTORS_PROBES_H
#define ACTORS_PROBES_H

/* Static probes for perf, bpftrace and SystemTap: one nop each while nobody
 * looks.  Absent where the system has no <sys/sdt.h>. */

#if defined(__has_include)
#if __has_include(<sys/sdt.h>)
#include <sys/sdt.h>
#define PROBE_ACCEPT(socket) DTRACE_PROBE1(chorus_p2p, accept, socket)
#define PROBE_HANDSHAKE(socket, step) DTRACE_PROBE2(chorus_p2p, handshake_step, socket, step)
#define PROBE_STREAM_OPEN(socket, id) DTRACE_PROBE2(chorus_p2p, stream_open, socket, id)
#define PROBE_STREAM_CLOSE(socket, id) DTRACE_PROBE2(chorus_p2p, stream_close, socket, id)
#endif
#endif

#ifndef PROBE_ACCEPT
#define PROBE_ACCEPT(socket) ((void)(socket))
#define PROBE_HANDSHAKE(socket, step) ((void)(socket), (void)(step))
#define PROBE_STREAM_OPEN(socket, id) ((void)(socket), (void)(id))
#define PROBE_STREAM_CLOSE(socket, id) ((void)(socket), (void)(id))
#endif

#endif
