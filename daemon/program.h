#ifndef DAEMON_PROGRAM_H
#define DAEMON_PROGRAM_H

#include <chorus/p2p.h>

#include <jansson.h>

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* What the commands of chorus-p2p share. */

enum program_limits {
    CLOSE_MS_MAX = 3000,     /* the way down of a node */
    PINGS_MAX = 1000000,     /* all are kept, for the percentiles */
    SECONDS_MAX = 86400,     /* of a time-out or an interval */
    MEMORY_BYTES_MIN = 4194304, /* what p2p_config_memory() takes */
    KEY_BITS_MIN = 2048,     /* of an RSA key */
    KEY_BITS_MAX = 8192,
};

enum program_exit {
    EXIT_OK = 0,
    EXIT_FAILED = 1,      /* it did not work: the message says why */
    EXIT_USAGE = 2,       /* the command line does not hold */
    EXIT_UNREACHABLE = 3, /* no connection to the address given */
    EXIT_REFUSED = 4,     /* connected, but the peer does not do what was asked */
    EXIT_IDENTITY = 5,    /* the identity could not be read or made */
    EXIT_LISTEN = 6,      /* an address could not be listened on */
    EXIT_IN_USE = 7,      /* another node has the data directory */
    EXIT_INTERRUPTED = 130,
};

struct command;

/* What the command line said. */
struct options {
    const char *listen[P2P_LISTEN_ADDRESSES_MAX];
    size_t listen_count;
    const char *data_dir;
    const char *network_id;
    const char *arguments[2];
    int argument_count;
    const struct command *about; /* what --help is to explain; NULL: all */
    const char *key_type;
    const char *out;
    unsigned bits;        /* 0: the default */
    long max_connections; /* -1: the default */
    uint64_t memory;      /* 0: the default */
    long workers;
    long status_ms;       /* -1: the default */
    long count;           /* -n */
    long timeout_ms;
    uint64_t upload, download;
    uint64_t bytes;       /* echo: with pseudo_random */
    int log_level;        /* -1: the command's default */
    enum p2p_log_format log_format;
    bool json, echo, perf, insecure, cid, pseudo_random;
};

int command_run(const struct options *options);
int command_id(const struct options *options);
int command_key_generate(const struct options *options);
int command_key_show(const struct options *options);
int command_key_convert(const struct options *options);
int command_ping(const struct options *options);
int command_identify(const struct options *options);
int command_perf(const struct options *options);
int command_echo(const struct options *options);
int command_version(const struct options *options);
int command_help(const struct options *options);

/* The exit status that an error of the library leads to. */
int exit_of(int error);

/* A configuration of what the options say; `serve` for run (listens, keeps its
 * identity), else a client that listens nowhere and has an identity of the
 * moment.  NULL after a complaint; *status is then the exit status. */
struct p2p_config *config_of(const struct options *options, bool serve, int *status);

/* The data directory: --data-dir, or XDG's.  Made if need be (mode 0700).
 * NULL after a complaint.  The caller frees it. */
char *data_dir_of(const struct options *options, bool make);

/* A client node, connected to options->arguments[0]; give it to hang_up().  NULL
 * after a complaint.  SIGINT and SIGTERM close it in order: calls that wait then
 * fail. */
struct p2p_node *dial_of(const struct options *options, char id[P2P_ID_TEXT_BYTES], int *status);
void hang_up(struct p2p_node *node);
/* What to say of an error, with its remedy, and the exit status, of a client that
 * may have been interrupted. */
const char *client_reason(int error);
int client_exit(int error);
/* A stream of /SERVICE/1.0.0, which peers serve with the option --SERVICE.  An
 * error after a complaint. */
int open_stream(struct p2p_node *node, struct p2p_stream **stream, const char *id, const char *service,
                const struct options *options);
/* What to say when it fails, which may be as late as the first read. */
void complain_of_stream(const struct options *options, const char *service, int error);
/* An object of results that says by "error" if it is not all that was asked for. */
json_t *with_error(json_t *object, int error);

/* SIGINT and SIGTERM from here on: the first sets this, and makes the
 * descriptor readable; the second ends the program at once (EXIT_INTERRUPTED).
 * A failed assertion dumps the library's last events.  -1 with errno when that
 * cannot be had. */
int signals_begin(void);
bool signals_seen(void);

uint64_t clock_ns(void);

/* "chorus-p2p: ..." on stderr; control characters are escaped. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
void vcomplain(const char *format, va_list arguments) __attribute__((format(printf, 1, 0)));

/* Data goes to stdout with these; what is lost is remembered. */
void print(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Words, and a newline; lines after the first begin in column `indent`, where the
 * text already stands. */
void print_wrapped(int indent, const char *text);
/* At once.  False when output was lost. */
bool print_bytes(const void *data, size_t length);
/* One object on a line; takes it over.  NULL, because memory is out, is lost. */
void print_json(json_t *object);
/* All that was printed has been taken; else there was a complaint. */
bool output_taken(void);
/* The same: a status of 0 becomes EXIT_FAILED. */
int finish_output(int status);

/* A standard descriptor that is closed must not become a socket.  -1: it cannot
 * be helped. */
int keep_standard_descriptors(void);

#endif
