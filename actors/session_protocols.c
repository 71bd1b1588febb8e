#include "actors/session_protocols.h"

#include "actors/session_echo.h"
#include "actors/session_perf.h"
#include "actors/session_ping.h"
#include "actors/session_state.h"
#include "net/identify.h"

int session_register_protocols(struct p2p_node *node)
{
    int error = p2p_node_handle(node, IDENTIFY_PROTOCOL, 0, &session_identify_callbacks, NULL);

    if (error == 0)
        error = p2p_node_handle(node, IDENTIFY_PUSH_PROTOCOL, 0, &session_push_callbacks, NULL);
    if (error == 0)
        error = p2p_node_handle(node, PING_PROTOCOL, 0, &session_ping_callbacks, NULL);
    if (error == 0 && node->config.serve_perf)
        error = p2p_node_handle(node, PERF_PROTOCOL, 0, &session_perf_callbacks, NULL);
    if (error == 0 && node->config.serve_echo)
        error = p2p_node_handle(node, SESSION_ECHO_PROTOCOL, 0, &session_echo_callbacks, NULL);
    return error;
}
