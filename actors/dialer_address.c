#include "actors/dialer.h"

#include "actors/text.h"

#include <string.h>

/* Which addresses can be dialled, and what to say of those that cannot. */

static bool has(const struct multiaddr *m, enum multiaddr_code code)
{
    struct multiaddr_component component;

    return multiaddr_find(m, code, &component);
}

/* Why we do not dial it, and what would do. */
static const char *reason_not(const struct multiaddr *m)
{
    uint16_t port;

    if (multiaddr_is_relayed(m))
        return "relays are not dialled through; use an address of the peer itself";
    if (has(m, MULTIADDR_QUIC) || has(m, MULTIADDR_QUIC_V1) || has(m, MULTIADDR_UDP))
        return "only TCP is dialled; use the peer's /tcp address";
    if (has(m, MULTIADDR_WS) || has(m, MULTIADDR_WSS) || has(m, MULTIADDR_TLS))
        return "WebSocket is not spoken; use the peer's plain /tcp address";
    if (has(m, MULTIADDR_IP6ZONE) && multiaddr_is_tcp(m))
        return "it cannot be dialled";
    if (multiaddr_scope(m) == MULTIADDR_SCOPE_UNSPECIFIED)
        return "the unspecified address stands for every interface of a listener; use one of its real addresses";
    if (multiaddr_port(m, &port) == 0 && port == 0)
        return "port 0 cannot be dialled; use the port that the peer listens on";
    if (multiaddr_scope(m) == MULTIADDR_SCOPE_LINK_LOCAL)
        return "a link-local address needs its interface: write /ip6zone/INTERFACE before it";
    return "write /ip4/ADDRESS/tcp/PORT/p2p/ID, with ip6, dns, dns4, dns6 or dnsaddr in the place of ip4";
}

int dialer_check(struct multiaddr *address, struct peer_id *id, const char *text, struct p2p_error_text *error_text)
{
    char why[MULTIADDR_ERROR_SIZE] = "";

    if (!text) {
        text_set(error_text, "no address was given; write /ip4/ADDRESS/tcp/PORT/p2p/ID");
        return P2P_ERR_CALL_INVALID;
    }
    int error = multiaddr_from_text(address, text, why, sizeof(why));
    if (error) {
        text_set(error_text, "%.200s: %s", text, why);
        return error;
    }
    error = multiaddr_peer_id(address, id);
    if (error && multiaddr_is_relayed(address)) { /* its id is the relay's */
        text_set(error_text, "%.300s: %s", text, reason_not(address));
        return P2P_ERR_CALL_UNSUPPORTED;
    }
    if (error) {
        text_set(error_text, "%.300s does not say whom to expect there; append /p2p/ and the peer's id", text);
        return P2P_ERR_CALL_INVALID;
    }
    if (!multiaddr_is_dialable_tcp(address) && !multiaddr_is_resolvable(address)) {
        text_set(error_text, "%.300s: %s", text, reason_not(address));
        return P2P_ERR_CALL_UNSUPPORTED;
    }
    if (!has(address, MULTIADDR_DNSADDR)) /* there it is part of the question */
        multiaddr_without_peer_id(address);
    return 0;
}
