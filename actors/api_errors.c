#include "chorus/p2p.h"

/* Names and sentences of the public errors, and the version. */

struct error_entry {
    int error;
    const char *name;
    const char *sentence;
};

#define ENTRY(error, sentence) {error, #error, sentence}

static const struct error_entry entries[] = {
    ENTRY(P2P_OK, "it worked"),
    ENTRY(P2P_ERR_CALL_INVALID, "an argument is not of the form asked for"),
    ENTRY(P2P_ERR_CALL_FULL, "a bounded queue is full; try again later"),
    ENTRY(P2P_ERR_CALL_AGAIN, "nothing is there yet"),
    ENTRY(P2P_ERR_CALL_TIMEOUT, "the time given ran out"),
    ENTRY(P2P_ERR_CALL_NOMEM, "memory, or its budget, is used up"),
    ENTRY(P2P_ERR_CALL_SHORT, "the output buffer is too small"),
    ENTRY(P2P_ERR_CALL_STATE, "not possible in this state"),
    ENTRY(P2P_ERR_CALL_UNSUPPORTED, "a kind that is known but not handled"),
    ENTRY(P2P_ERR_CALL_NOT_FOUND, "there is no such thing"),
    ENTRY(P2P_ERR_CALL_EXISTS, "it is there already"),
    ENTRY(P2P_ERR_CALL_CANCELLED, "the call was given up"),
    ENTRY(P2P_ERR_CALL_THREAD, "this may not be called from this thread"),
    ENTRY(P2P_ERR_CALL_IO, "the operating system refused"),
    ENTRY(P2P_ERR_CALL_MALFORMED, "the bytes or the text do not parse"),
    ENTRY(P2P_ERR_CALL_CRYPTO, "a key, signature or cipher operation failed"),
    ENTRY(P2P_ERR_CALL_GONE, "the one asked is no longer there"),
    ENTRY(P2P_ERR_STREAM_CLOSED, "this direction of the stream was closed"),
    ENTRY(P2P_ERR_STREAM_RESET, "the peer reset the stream"),
    ENTRY(P2P_ERR_STREAM_PROTOCOL, "the peer broke the stream's protocol"),
    ENTRY(P2P_ERR_STREAM_REFUSED, "the peer speaks none of these protocols, or has no room"),
    ENTRY(P2P_ERR_STREAM_TIMEOUT, "the stream's negotiation or answer took too long"),
    ENTRY(P2P_ERR_STREAM_LIMIT, "a limit of the stream or its connection was met"),
    ENTRY(P2P_ERR_STREAM_EOF, "the peer closed its direction and all was read"),
    ENTRY(P2P_ERR_CONN_CLOSED, "the connection was closed"),
    ENTRY(P2P_ERR_CONN_RESET, "the connection broke"),
    ENTRY(P2P_ERR_CONN_TIMEOUT, "the connection took too long"),
    ENTRY(P2P_ERR_CONN_PROTOCOL, "the peer broke a protocol"),
    ENTRY(P2P_ERR_CONN_FLOW, "the peer sent beyond a window"),
    ENTRY(P2P_ERR_CONN_AUTH, "a signature, key or tag did not verify"),
    ENTRY(P2P_ERR_CONN_PEER_ID, "another peer answered at that address"),
    ENTRY(P2P_ERR_CONN_NEGOTIATION, "no security or muxer in common"),
    ENTRY(P2P_ERR_CONN_LIMIT, "a limit refused the connection"),
    ENTRY(P2P_ERR_CONN_REFUSED, "nobody listens there"),
    ENTRY(P2P_ERR_CONN_UNREACHABLE, "there is no way to that address"),
    ENTRY(P2P_ERR_CONN_GOAWAY, "the peer sent the connection away"),
    ENTRY(P2P_ERR_CONN_STALLED, "the peer took no byte for too long"),
    ENTRY(P2P_ERR_NODE_CLOSING, "the node is on its way down"),
    ENTRY(P2P_ERR_NODE_CONFIG, "the configuration does not hold"),
    ENTRY(P2P_ERR_NODE_LISTEN, "an address could not be listened on"),
    ENTRY(P2P_ERR_NODE_KEY, "the identity could not be read or written"),
    ENTRY(P2P_ERR_NODE_SYSTEM, "the system lacks what is needed"),
    ENTRY(P2P_ERR_NODE_IN_USE, "the data directory belongs to another running node"),
};

static const struct error_entry *find(int error)
{
    static const struct error_entry unknown = {1, "P2P_ERR_UNKNOWN", "an unknown error"};

    for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++)
        if (entries[i].error == error)
            return &entries[i];
    return &unknown;
}

const char *p2p_error_name(int error)
{
    return find(error)->name;
}

const char *p2p_error_string(int error)
{
    return find(error)->sentence;
}

const char *p2p_version(void)
{
    return CHORUS_VERSION;
}

int p2p_abi_version(void)
{
    return P2P_ABI_VERSION;
}
