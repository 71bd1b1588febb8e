#ifndef ACTORS_SESSION_ECHO_H
#define ACTORS_SESSION_ECHO_H

#include "chorus/p2p.h"

#define SESSION_ECHO_PROTOCOL "/echo/1.0.0"

extern const struct p2p_stream_callbacks session_echo_callbacks;

#endif
