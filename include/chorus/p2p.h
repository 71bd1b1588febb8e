#ifndef CHORUS_P2P_H
#define CHORUS_P2P_H

/* Error codes.  0 is success, every error is negative, and the hundreds tell
 * how far the damage goes: -1xx this call, -2xx the stream, -3xx the
 * connection, -4xx the node. */
enum p2p_error {
    P2P_OK = 0,

    P2P_ERR_CALL_INVALID = -101,     /* an argument is not of the form asked for */
    P2P_ERR_CALL_FULL = -102,        /* a bounded queue is full: retry after WRITABLE or an answer */
    P2P_ERR_CALL_AGAIN = -103,       /* nothing there yet: would block */
    P2P_ERR_CALL_TIMEOUT = -104,     /* the time given ran out */
    P2P_ERR_CALL_NOMEM = -105,       /* memory, or its budget, is used up */
    P2P_ERR_CALL_SHORT = -106,       /* the output buffer is too small */
    P2P_ERR_CALL_STATE = -107,       /* not possible in this state */
    P2P_ERR_CALL_UNSUPPORTED = -108, /* a kind we know but do not handle */
    P2P_ERR_CALL_NOT_FOUND = -109,   /* no such thing */
    P2P_ERR_CALL_EXISTS = -110,      /* it is there already */
    P2P_ERR_CALL_CANCELLED = -111,   /* given up by the caller, or its holder died */
    P2P_ERR_CALL_THREAD = -112,      /* not from this thread */
    P2P_ERR_CALL_IO = -113,          /* the operating system said no; errno tells why */
    P2P_ERR_CALL_MALFORMED = -114,   /* bytes or text that do not parse */
    P2P_ERR_CALL_CRYPTO = -115,      /* a key, signature or cipher operation failed */
    P2P_ERR_CALL_GONE = -116,        /* the one asked is no longer there */

    P2P_ERR_STREAM_CLOSED = -201,    /* we closed this direction */
    P2P_ERR_STREAM_RESET = -202,     /* the peer reset it; p2p_stream_error_code tells its code */
    P2P_ERR_STREAM_PROTOCOL = -203,  /* the peer broke the stream's protocol */
    P2P_ERR_STREAM_REFUSED = -204,   /* no protocol in common, or no room */
    P2P_ERR_STREAM_TIMEOUT = -205,   /* negotiation or an answer took too long */
    P2P_ERR_STREAM_LIMIT = -206,     /* a limit of the stream or connection was met */
    P2P_ERR_STREAM_EOF = -207,       /* the peer closed its direction and all was read */

    P2P_ERR_CONN_CLOSED = -301,      /* closed in order, by either side */
    P2P_ERR_CONN_RESET = -302,       /* the transport broke */
    P2P_ERR_CONN_TIMEOUT = -303,     /* a handshake, keep-alive or write took too long */
    P2P_ERR_CONN_PROTOCOL = -304,    /* the peer broke a protocol */
    P2P_ERR_CONN_FLOW = -305,        /* the peer sent beyond a window */
    P2P_ERR_CONN_AUTH = -306,        /* a signature, key or tag did not verify */
    P2P_ERR_CONN_PEER_ID = -307,     /* somebody else answered at that address */
    P2P_ERR_CONN_NEGOTIATION = -308, /* no common security or muxer */
    P2P_ERR_CONN_LIMIT = -309,       /* a limit refused it */
    P2P_ERR_CONN_REFUSED = -310,     /* nobody listens there */
    P2P_ERR_CONN_UNREACHABLE = -311, /* no route, or the name does not resolve */
    P2P_ERR_CONN_GOAWAY = -312,      /* the peer said GoAway; its code tells why */
    P2P_ERR_CONN_STALLED = -313,     /* the peer took no byte for too long */

    P2P_ERR_NODE_CLOSING = -401,     /* the node is on its way down */
    P2P_ERR_NODE_CONFIG = -402,      /* the configuration does not hold */
    P2P_ERR_NODE_LISTEN = -403,      /* an address could not be listened on */
    P2P_ERR_NODE_KEY = -404,         /* the identity could not be read or written */
    P2P_ERR_NODE_SYSTEM = -405,      /* the system lacks what we need */
};

#endif
