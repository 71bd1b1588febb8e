#ifndef ACTORS_SESSION_PERF_H
#define ACTORS_SESSION_PERF_H

#include "chorus/p2p.h"

#define PERF_PROTOCOL "/perf/1.0.0"

extern const struct p2p_stream_callbacks session_perf_callbacks;

#endif
