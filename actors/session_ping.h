#ifndef ACTORS_SESSION_PING_H
#define ACTORS_SESSION_PING_H

#include "chorus/p2p.h"

#define PING_PROTOCOL "/ipfs/ping/1.0.0"

extern const struct p2p_stream_callbacks session_ping_callbacks;

#endif
