#ifndef CHORUS_P2P_H
#define CHORUS_P2P_H

/* chorus-p2p: a libp2p node.
 *
 * The grammar of this header:
 *
 * Arguments run: the object, then outputs, then inputs; a length follows its
 * pointer.  Times are milliseconds in the name (`_ms`) or nanoseconds (`_ns`);
 * a `timeout_ms` of -1 waits for ever, 0 does not wait.
 *
 * Results are `int`, 0 or a negative P2P_ERR_*; those that count bytes are
 * `int64_t`, the count or a negative error.  After a failure outputs hold what
 * their function says, else nothing to be used.  Functions that take
 * `struct p2p_error_text *` (may be NULL) write a sentence there that names the
 * input, the reason and the remedy.
 *
 * Ownership: what `_new` makes, `_free` ends.  Strings and arrays passed in are
 * copied.  A `struct p2p_stream *` belongs to the application from the moment
 * it gets it until it calls p2p_stream_close() or p2p_stream_reset(), exactly
 * one of them, once; until then every call on it is safe, whatever became of
 * the connection.  A `struct p2p_buffer` is given away by a write and must be
 * released after a read.  Pointers may be NULL only where it says so; every
 * `_free` takes NULL.
 *
 * Threads: every function may be called from any thread, but where it says
 * otherwise.  Streams come in two kinds.  An INLINE stream lives on the worker
 * that owns its connection: its callbacks run there, must not block, and only
 * there may it be touched (elsewhere: P2P_ERR_CALL_THREAD; p2p_stream_run()
 * brings a function there).  An EVENT stream may be used from any one thread at
 * a time, with events from the node's queue or with the blocking calls.
 * Blocking calls (those with `timeout_ms`) made on a worker return
 * P2P_ERR_CALL_THREAD; in a runtime without threads they turn it meanwhile.
 *
 * The library writes nothing to the standard streams, installs no signal
 * handler, and is inert in a child after fork(): there nothing that the parent
 * made may be touched, not even freed; a child that wants a node makes its own. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define P2P_API __attribute__((visibility("default")))

#define P2P_VERSION_MAJOR 0
#define P2P_VERSION_MINOR 1
#define P2P_VERSION_PATCH 0
/* Raised when a program built against an older header no longer works. */
#define P2P_ABI_VERSION 1

struct p2p_runtime;
struct p2p_config;
struct p2p_node;
struct p2p_stream;
struct p2p_buffer;

/* ---- Errors ------------------------------------------------------------ */

/* The hundreds tell how far the damage goes: -1xx this call, -2xx the stream,
 * -3xx the connection, -4xx the node. */
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

    P2P_ERR_CONN_CLOSED = -301,      /* closed by either side; a peer that was killed looks the same */
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
    P2P_ERR_NODE_IN_USE = -406,      /* the data directory belongs to another running node */
};

enum p2p_limits {
    P2P_ID_TEXT_BYTES = 128,          /* of a peer id, its terminator included */
    P2P_ADDRESS_TEXT_BYTES = 512,     /* of a multiaddr, its terminator included */
    P2P_PROTOCOL_BYTES_MAX = 256,     /* of a protocol id we register or open */
    P2P_PROTOCOLS_MAX = 128,          /* registered on a node, or proposed for one stream */
    P2P_LISTEN_ADDRESSES_MAX = 16,
    P2P_STREAM_SEND_BYTES_MAX = 1048576, /* queued on a stream before a write would block */
};

struct p2p_error_text {
    char text[512];
};

/* "P2P_ERR_CONN_RESET", for logs.  Never NULL. */
P2P_API const char *p2p_error_name(int error);
/* A short sentence.  Never NULL. */
P2P_API const char *p2p_error_string(int error);
/* "0.1.0" */
P2P_API const char *p2p_version(void);
/* The library's P2P_ABI_VERSION, to compare with the header's. */
P2P_API int p2p_abi_version(void);

/* ---- Keys and peer ids ------------------------------------------------- */

enum p2p_key_type {
    P2P_KEY_RSA = 0, /* the numbers of the libp2p key protobuf */
    P2P_KEY_ED25519 = 1,
    P2P_KEY_SECP256K1 = 2,
    P2P_KEY_ECDSA = 3,
};

/* A new private key as libp2p's protobuf.  `bits` is for RSA (2048 to 8192; 0:
 * 2048).  *length is the capacity on entry (4,800 B do for every key) and the
 * size on return; P2P_ERR_CALL_SHORT when it does not fit. */
P2P_API int p2p_key_generate(uint8_t *out, size_t *length, enum p2p_key_type type, unsigned bits);
/* The peer id of a private key. */
P2P_API int p2p_key_id(char out[P2P_ID_TEXT_BYTES], const uint8_t *key, size_t length);
/* Its type and the size of its public key in bits; outputs may be NULL. */
P2P_API int p2p_key_info(enum p2p_key_type *type, unsigned *bits, const uint8_t *key, size_t length);
/* Reads a key file (libp2p protobuf).  *length as above.  A file others may
 * read is refused. */
P2P_API int p2p_key_read_file(uint8_t *out, size_t *length, const char *path, struct p2p_error_text *error);
/* Writes one, mode 0600, whole or not at all; an existing file is never
 * overwritten. */
P2P_API int p2p_key_write_file(const char *path, const uint8_t *key, size_t length, struct p2p_error_text *error);
/* Parses a peer id in base58btc or CIDv1 text and writes the base58btc form
 * (cid false) or the CIDv1 form (cid true). */
P2P_API int p2p_id_convert(char out[P2P_ID_TEXT_BYTES], const char *id, bool cid);
/* Checks a multiaddr and writes it in canonical text. */
P2P_API int p2p_address_parse(char out[P2P_ADDRESS_TEXT_BYTES], const char *address, struct p2p_error_text *error);

/* ---- Runtime ----------------------------------------------------------- */

enum p2p_driver {
    P2P_DRIVER_AUTO = 0, /* io_uring where the kernel grants it, else epoll */
    P2P_DRIVER_URING,
    P2P_DRIVER_EPOLL,
};

/* Workers that several nodes may share.  `workers` 0: as many as CPUs this
 * process may use.  With `threads` false there is one worker, and whoever calls
 * p2p_runtime_turn() is it. */
P2P_API int p2p_runtime_new(struct p2p_runtime **out, unsigned workers, bool threads, enum p2p_driver driver,
                            struct p2p_error_text *error);
/* All its nodes must have been freed. */
P2P_API void p2p_runtime_free(struct p2p_runtime *runtime);
/* A runtime without threads: does what is due, waiting for work at most
 * `timeout_ms`.  Returns 1 when more is due at once, else 0, or an error. */
P2P_API int p2p_runtime_turn(struct p2p_runtime *runtime, int timeout_ms);
/* In a runtime without threads: a descriptor, always the same, that is readable
 * when a turn has something to do, be it that a time is up.  Turn until that
 * returns 0 before you wait for it.  -1 where there is none. */
P2P_API int p2p_runtime_fd(struct p2p_runtime *runtime);
/* "io_uring" or "epoll". */
P2P_API const char *p2p_runtime_driver(struct p2p_runtime *runtime);
/* To wake a CPU takes tens of microseconds.  So a worker thread that has just
 * worked looks around for more, `spin_us` microseconds at most and as long as
 * that has paid lately, before it sleeps.  30 unless set; 0: it sleeps at once.
 * It stays 0 where the process may use one CPU only.  Any thread, at any time.
 * Returns 0, or P2P_ERR_CALL_INVALID above 1000. */
P2P_API int p2p_runtime_set_spin_us(struct p2p_runtime *runtime, unsigned spin_us);
/* What it is. */
P2P_API unsigned p2p_runtime_spin_us(struct p2p_runtime *runtime);

/* ---- Configuration ----------------------------------------------------- */

enum p2p_log_level { P2P_LOG_ERROR, P2P_LOG_WARN, P2P_LOG_INFO, P2P_LOG_DEBUG, P2P_LOG_TRACE };
enum p2p_log_format { P2P_LOG_TEXT, P2P_LOG_JSON };

/* Defaults: listen /ip4/0.0.0.0/tcp/3333 and /ip6/::/tcp/3333; a new Ed25519
 * identity; network CHORUS-network; 50 connections; connection time-out 30 s;
 * security on; no log.  NULL when memory is out. */
P2P_API struct p2p_config *p2p_config_new(void);
P2P_API void p2p_config_free(struct p2p_config *config);

/* The first call replaces the default listening addresses, later ones add.
 * NULL or "": listen on none. */
P2P_API int p2p_config_listen(struct p2p_config *config, const char *address, struct p2p_error_text *error);
/* The identity: a private key as libp2p's protobuf. */
P2P_API int p2p_config_identity(struct p2p_config *config, const uint8_t *key, size_t length);
/* Or a directory that keeps it: `identity.key` is read, or made there.  From
 * p2p_node_start() until it is freed the node has the directory for itself:
 * another one is refused with P2P_ERR_NODE_IN_USE, and told whose it is. */
P2P_API int p2p_config_data_dir(struct p2p_config *config, const char *path);
/* Announced as identify's protocolVersion: UTF-8 without control characters, at
 * most 127 B. */
P2P_API int p2p_config_network_id(struct p2p_config *config, const char *network_id);
P2P_API int p2p_config_agent_version(struct p2p_config *config, const char *agent);
/* Peers' connections at a time; 0: no limit. */
P2P_API int p2p_config_max_connections(struct p2p_config *config, uint32_t connections);
/* For connecting: dial, security and muxer.  From 1. */
P2P_API int p2p_config_connection_timeout_ms(struct p2p_config *config, uint32_t timeout_ms);
/* Off: plaintext 2.0.0, loudly.  For tests on a trusted machine. */
P2P_API int p2p_config_security(struct p2p_config *config, bool enabled);
/* Serve /perf/1.0.0 and /echo/1.0.0. */
P2P_API int p2p_config_serve_perf(struct p2p_config *config, bool enabled);
P2P_API int p2p_config_serve_echo(struct p2p_config *config, bool enabled);
/* Concurrent dials (160) and inbound handshakes (128).  From 1. */
P2P_API int p2p_config_max_dials(struct p2p_config *config, uint32_t dials);
P2P_API int p2p_config_pending_handshakes(struct p2p_config *config, uint32_t handshakes);
/* Silence after which we ask whether the peer is there (30 s); 0: never. */
P2P_API int p2p_config_keep_alive_ms(struct p2p_config *config, uint32_t interval_ms);
/* Streams that we have open at a time on one connection (448: rust-libp2p ends a
 * connection with more than 512, its own counted).  From 1 to 16,384; opens
 * beyond it wait for their turn, ten seconds at most: P2P_ERR_STREAM_LIMIT. */
P2P_API int p2p_config_max_streams(struct p2p_config *config, uint32_t streams);
/* Bytes that windows and queues of one connection may hold (16 MiB).  From
 * 262,144. */
P2P_API int p2p_config_connection_memory(struct p2p_config *config, uint64_t bytes);
/* Bytes that all connections of the node may hold together (256 MiB), buffers
 * lent to the application included.  From 4 MiB.  Beyond that the connection
 * that holds most is closed (P2P_ERR_CONN_LIMIT), and what its streams had not
 * read is dropped. */
P2P_API int p2p_config_memory(struct p2p_config *config, uint64_t bytes);
/* The status line, logged as INFO (30 s); 0: none. */
P2P_API int p2p_config_status_interval_ms(struct p2p_config *config, uint32_t interval_ms);
/* Of the runtime that a node makes for itself. */
P2P_API int p2p_config_workers(struct p2p_config *config, unsigned workers);
P2P_API int p2p_config_driver(struct p2p_config *config, enum p2p_driver driver);
/* `write` gets one whole line with its newline, on a thread of the library's
 * that does nothing else: it may block. */
P2P_API int p2p_config_log(struct p2p_config *config, enum p2p_log_level level, enum p2p_log_format format,
                           void (*write)(void *argument, enum p2p_log_level level, const char *line, size_t length),
                           void *argument);

/* ---- Node -------------------------------------------------------------- */

/* `runtime` NULL: the node makes one of its own.  The configuration is copied.
 * Nothing is listened on before p2p_node_start(). */
P2P_API int p2p_node_new(struct p2p_node **out, const struct p2p_config *config, struct p2p_runtime *runtime,
                         struct p2p_error_text *error);
/* Listens.  On failure nothing is listened on, and the node can only be closed. */
P2P_API int p2p_node_start(struct p2p_node *node, struct p2p_error_text *error);
/* The way down: no new work, GoAway to all, flush, close; <= 3 s.  The last
 * event is P2P_EVENT_NODE_CLOSED.  0 when closed, P2P_ERR_CALL_TIMEOUT when it
 * is still under way.  From a worker with threads: P2P_ERR_CALL_THREAD. */
P2P_API int p2p_node_close(struct p2p_node *node, int timeout_ms);
/* Closes if need be, and frees.  No call may be under way.  Streams not yet
 * closed are closed by it. */
P2P_API void p2p_node_free(struct p2p_node *node);

P2P_API int p2p_node_id(const struct p2p_node *node, char out[P2P_ID_TEXT_BYTES]);

struct p2p_address {
    char text[P2P_ADDRESS_TEXT_BYTES];
};

/* Our dialable addresses with /p2p/ID, wildcards resolved to those of the
 * interfaces.  Writes at most `capacity`; *count is how many there are. */
P2P_API int p2p_node_addresses(struct p2p_node *node, struct p2p_address *out, size_t capacity, size_t *count);

/* Dials a full address, "/ip4/…/tcp/…/p2p/ID".  0 when the connection is
 * secured and multiplexed (or there was one already); `id` (may be NULL) is the
 * peer's. */
P2P_API int p2p_node_connect(struct p2p_node *node, char id[P2P_ID_TEXT_BYTES], const char *address, int timeout_ms,
                             struct p2p_error_text *error);
/* The same without waiting: P2P_EVENT_CONNECTED or P2P_EVENT_CONNECT_FAILED
 * with `request` (the caller's number). */
P2P_API int p2p_node_connect_start(struct p2p_node *node, uint64_t request, const char *address, int timeout_ms,
                                   struct p2p_error_text *error);
/* Closes all connections to a peer in order.  P2P_ERR_CALL_NOT_FOUND when there
 * is none. */
P2P_API int p2p_node_disconnect(struct p2p_node *node, const char *id);

struct p2p_peer {
    char id[P2P_ID_TEXT_BYTES];
    char address[P2P_ADDRESS_TEXT_BYTES]; /* the remote end of its newest connection */
    uint32_t connections;
    bool outbound;        /* the newest connection was dialled by us */
    bool identified;
    uint64_t rtt_ns;      /* 0: not known yet */
    uint64_t since_ns;    /* age of its oldest connection */
    uint64_t bytes_in, bytes_out; /* of its live connections, on the wire */
};

/* How many peers we are connected to. */
P2P_API size_t p2p_node_peers(struct p2p_node *node);
/* Writes at most `capacity`; *count is how many there are. */
P2P_API int p2p_node_connected_peers(struct p2p_node *node, struct p2p_peer *out, size_t capacity, size_t *count);

/* What a peer told by identify.  Owned by the caller: p2p_identity_free(). */
struct p2p_identity {
    char id[P2P_ID_TEXT_BYTES];
    char *agent_version;
    char *protocol_version;
    char *observed_address;       /* ours, as it sees us; "" if none */
    char **protocols;
    size_t protocol_count;
    char **addresses;
    size_t address_count;
    bool signed_record;           /* addresses come from its valid signed peer record */
    uint64_t signed_record_seq;
    enum p2p_key_type key_type;
};

/* Waits until the peer is identified.  P2P_ERR_CALL_NOT_FOUND when it is not
 * connected; at once, P2P_ERR_STREAM_REFUSED when it does not speak identify, or
 * what else became of the question. */
P2P_API int p2p_node_identify(struct p2p_node *node, struct p2p_identity **out, const char *id, int timeout_ms);
P2P_API void p2p_identity_free(struct p2p_identity *identity);

/* One ping over /ipfs/ping/1.0.0; the stream is kept for the next ones. */
P2P_API int p2p_node_ping(struct p2p_node *node, uint64_t *rtt_ns, const char *id, int timeout_ms);

/* A counter or gauge by its name: "connections", "streams", "bytes_in", ...
 * P2P_ERR_CALL_NOT_FOUND for an unknown name. */
P2P_API int p2p_node_counter(struct p2p_node *node, int64_t *value, const char *name);
/* The names, index 0 and up, for as long as the program runs.
 * P2P_ERR_CALL_NOT_FOUND past the end. */
P2P_API int p2p_node_counter_name(const char **name, size_t index);

/* ---- Streams ----------------------------------------------------------- */

/* Callbacks of an INLINE stream.  They run on the worker of the connection and
 * must not block.  `user` is p2p_stream_user()'s. */
struct p2p_stream_callbacks {
    /* An inbound stream is there, or ours was opened (negotiated, or sent
     * optimistically).  May be NULL. */
    void (*opened)(struct p2p_stream *stream, void *user);
    /* There are bytes, or the end (read says P2P_ERR_STREAM_EOF), or an error. */
    void (*readable)(struct p2p_stream *stream, void *user);
    /* A write that was cut short or refused may go on. */
    void (*writable)(struct p2p_stream *stream, void *user);
    /* It was reset, or its connection or node ended, or it could not be opened:
     * `error` says which.  Once; not for a stream that both sides have closed.
     * Still to be closed by p2p_stream_close(). */
    void (*failed)(struct p2p_stream *stream, void *user, int error);
};

enum p2p_handle_flags {
    P2P_HANDLE_PREFIX = 1, /* `protocol` is the beginning of the ids served */
};

/* Serves a protocol.  `callbacks` NULL: its streams are EVENT streams and come
 * as P2P_EVENT_STREAM_INCOMING; else INLINE, with `user` as their first user
 * value.  Peers that are connected are told (identify push).
 * P2P_ERR_CALL_EXISTS if it is served already. */
P2P_API int p2p_node_handle(struct p2p_node *node, const char *protocol, unsigned flags,
                            const struct p2p_stream_callbacks *callbacks, void *user);
/* Serves it no more; streams that are open go on.  P2P_ERR_CALL_NOT_FOUND. */
P2P_API int p2p_node_unhandle(struct p2p_node *node, const char *protocol);

/* Opens an EVENT stream to a connected peer with the first of `protocols` that
 * it takes.  One protocol, or one that identify has told us of, costs no round
 * trip: a refusal then shows at the first read.  With 256 streams that the peer
 * has not acknowledged an open waits for its turn, 10 s at most
 * (P2P_ERR_STREAM_TIMEOUT).  After P2P_ERR_CALL_TIMEOUT nothing is left of it. */
P2P_API int p2p_stream_open(struct p2p_node *node, struct p2p_stream **out, const char *id,
                            const char *const *protocols, size_t protocol_count, int timeout_ms,
                            struct p2p_error_text *error);
/* The same without waiting: 0, and P2P_EVENT_STREAM_OPENED or
 * P2P_EVENT_STREAM_OPEN_FAILED with `request`; or P2P_ERR_NODE_CLOSING and no
 * event. */
P2P_API int p2p_stream_open_start(struct p2p_node *node, uint64_t request, const char *id,
                                  const char *const *protocols, size_t protocol_count);
/* An INLINE stream: `opened` or `failed` is called on its worker, unless an
 * error is returned. */
P2P_API int p2p_stream_open_inline(struct p2p_node *node, const char *id, const char *const *protocols,
                                   size_t protocol_count, const struct p2p_stream_callbacks *callbacks, void *user);

/* Copies what is there, at most `capacity` bytes.  P2P_ERR_CALL_AGAIN when
 * nothing is, P2P_ERR_STREAM_EOF after the peer's last byte, whatever became of
 * stream and connection since; where that did not come, P2P_ERR_STREAM_RESET or
 * the connection's end. */
P2P_API int64_t p2p_stream_read(struct p2p_stream *stream, void *out, size_t capacity);
/* Takes over as many bytes as there is room for; fewer than `length` means:
 * wait for WRITABLE.  P2P_ERR_CALL_AGAIN for none. */
P2P_API int64_t p2p_stream_write(struct p2p_stream *stream, const void *data, size_t length);
/* Blocking, for EVENT streams: read waits for at least one byte, read_full for
 * `length` of them, write until all are taken over.  When the time runs out or
 * the stream ends before, what was moved until then is returned, if anything: no
 * byte is lost, and the next call says why (P2P_ERR_CALL_TIMEOUT leaves the
 * stream as it was). */
P2P_API int64_t p2p_stream_read_wait(struct p2p_stream *stream, void *out, size_t capacity, int timeout_ms);
P2P_API int64_t p2p_stream_read_full(struct p2p_stream *stream, void *out, size_t length, int timeout_ms);
P2P_API int64_t p2p_stream_write_wait(struct p2p_stream *stream, const void *data, size_t length, int timeout_ms);

/* Zero copy.  A buffer lent by read_buffer counts against the stream's window
 * and the connection's memory as long as the stream is there, then in the
 * node's, until p2p_buffer_free().  That may be called from any thread, also when
 * stream, connection, node and runtime have gone: what a buffer lies in stays
 * until then.  "buffers_lent" counts those that are out, and p2p_node_free() logs
 * how many are missing. */
P2P_API int p2p_stream_read_buffer(struct p2p_stream *stream, struct p2p_buffer **out);
/* Gives the buffer away, whatever is returned, but P2P_ERR_CALL_AGAIN: then it
 * stays the caller's, for after WRITABLE. */
P2P_API int p2p_stream_write_buffer(struct p2p_stream *stream, struct p2p_buffer *buffer);
/* A buffer of exactly `bytes` (1 to 262,144) to fill.  NULL when memory is out. */
P2P_API struct p2p_buffer *p2p_buffer_new(struct p2p_node *node, size_t bytes);
P2P_API uint8_t *p2p_buffer_data(struct p2p_buffer *buffer);
P2P_API size_t p2p_buffer_length(const struct p2p_buffer *buffer);
/* Makes it shorter. */
P2P_API void p2p_buffer_trim(struct p2p_buffer *buffer, size_t length);
P2P_API void p2p_buffer_free(struct p2p_buffer *buffer);

/* FIN after what was written; reading goes on. */
P2P_API int p2p_stream_close_write(struct p2p_stream *stream);
/* FIN after what was written, unread bytes are dropped, and the handle is given
 * up. */
P2P_API void p2p_stream_close(struct p2p_stream *stream);
/* RST with `code` (go's application codes are up to the application), and the
 * handle is given up. */
P2P_API void p2p_stream_reset(struct p2p_stream *stream, uint32_t code);
/* The code of the peer's RST, after P2P_ERR_STREAM_RESET; else 0. */
P2P_API uint32_t p2p_stream_error_code(const struct p2p_stream *stream);
P2P_API int p2p_stream_peer(const struct p2p_stream *stream, char id[P2P_ID_TEXT_BYTES]);
/* The protocol agreed on; "" before that. */
P2P_API const char *p2p_stream_protocol(const struct p2p_stream *stream);
P2P_API struct p2p_node *p2p_stream_node(const struct p2p_stream *stream);
P2P_API void p2p_stream_set_user(struct p2p_stream *stream, void *user);
P2P_API void *p2p_stream_user(const struct p2p_stream *stream);
/* Runs `function` on the stream's worker, soon, if the handle is still held; the
 * connection may have ended. */
P2P_API int p2p_stream_run(struct p2p_stream *stream, void (*function)(struct p2p_stream *stream, void *argument),
                           void *argument);

/* ---- Events ------------------------------------------------------------ */

/* STREAM_READABLE and STREAM_WRITABLE, like the callbacks of the same names, tell
 * of a change: the next one comes after a read or write has said
 * P2P_ERR_CALL_AGAIN or, for a write, has taken fewer bytes than it was given.
 * So go on until then. */

enum p2p_event_type {
    P2P_EVENT_NONE = 0,
    P2P_EVENT_PEER_CONNECTED,    /* `id`: its first connection is up */
    P2P_EVENT_PEER_IDENTIFIED,   /* `id` */
    P2P_EVENT_PEER_DISCONNECTED, /* `id`, `error`, `text`: its last connection ended, and why */
    P2P_EVENT_CONNECTED,         /* `request`, `id` */
    P2P_EVENT_CONNECT_FAILED,    /* `request`, `error`, `text` */
    P2P_EVENT_STREAM_INCOMING,   /* `stream`, now the application's; `id` */
    P2P_EVENT_STREAM_OPENED,     /* `request`, `stream`, now the application's; `id` */
    P2P_EVENT_STREAM_OPEN_FAILED, /* `request`, `error`, `text` */
    P2P_EVENT_STREAM_READABLE,   /* `stream` */
    P2P_EVENT_STREAM_WRITABLE,   /* `stream` */
    P2P_EVENT_STREAM_FAILED,     /* `stream`, `error` */
    P2P_EVENT_ADDRESSES_CHANGED, /* once or more since the last one: p2p_node_addresses() tells */
    P2P_EVENT_NODE_CLOSED,       /* the last one: none comes after it */
};

struct p2p_event {
    enum p2p_event_type type;
    int error;
    uint64_t request;
    struct p2p_stream *stream;
    char id[P2P_ID_TEXT_BYTES];
    struct p2p_error_text text;
};

/* Readable while events wait.  One descriptor for the life of the node, made
 * when it is first asked for: a program that asks p2p_node_next_event() by
 * itself saves it, and the system calls that tell of each event.
 * P2P_ERR_NODE_SYSTEM when the process can have no more descriptors. */
P2P_API int p2p_node_event_fd(struct p2p_node *node);
/* 0 with *event, P2P_ERR_CALL_AGAIN when none waits. */
P2P_API int p2p_node_next_event(struct p2p_node *node, struct p2p_event *event);
/* The same, but waits for one: P2P_ERR_CALL_TIMEOUT. */
P2P_API int p2p_node_wait_event(struct p2p_node *node, struct p2p_event *event, int timeout_ms);

/* ---- Trouble ----------------------------------------------------------- */

/* Called on a worker, as in a handler of SIGABRT after an assertion there failed:
 * writes the last events of all workers of its runtime as text.  Elsewhere it
 * writes nothing.  Async-signal-safe. */
P2P_API void p2p_dump_events(int descriptor);

#ifdef __cplusplus
}
#endif

#endif
