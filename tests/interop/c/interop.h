#ifndef INTEROP_INTEROP_H
#define INTEROP_INTEROP_H

#include <chorus/p2p.h>

#include <jansson.h>

/* What the files of interop_node share. */

enum {
    TIMEOUT_MS = 60000,
    STREAM_BYTES = 1024,
    ARGUMENTS_MAX = 4,
};

struct interop_settings {
    enum p2p_key_type key_type;
    bool plaintext;
};

struct command {
    char id[64], name[32];
    char *arguments[ARGUMENTS_MAX];
    int argument_count;
    char *line;
};

extern struct interop_settings interop_settings;
extern struct p2p_node *interop_listening;

double interop_now_s(void);
/* Prints the answer: ok without a `format`, else the error.  Takes the fields. */
void interop_answer(const struct command *command, json_t *fields, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void interop_answer_error(const struct command *command, json_t *fields, int error);
/* A node that has started. */
int interop_node(struct p2p_node **node, bool listens, struct p2p_error_text *text);
/* A new node, connected to the first argument.  Answers by itself on failure. */
struct p2p_node *interop_dial(const struct command *command, char id[P2P_ID_TEXT_BYTES]);
int interop_open(struct p2p_node *node, struct p2p_stream **stream, const char *id, const char *protocol);
/* Argument number `index` as a number; 0 if there is none. */
uint64_t interop_count(const struct command *command, int index);
/* The node lives until interop_free_kept(). */
void interop_keep(struct p2p_node *node);
void interop_free_kept(void);

/* served.c: what the listening node serves besides the library's own. */
int served_register(struct p2p_node *node);

/* cases_peer.c */
void case_ping(const struct command *command);
void case_identify(const struct command *command);
void case_learned(const struct command *command);
void case_wrong_id(const struct command *command);
void case_idle(const struct command *command);
void case_simultaneous(const struct command *command);
void case_disconnect(const struct command *command);
/* cases_stream.c */
void case_echo(const struct command *command);
void case_streams(const struct command *command);
void case_half(const struct command *command);
void case_reset(const struct command *command);
void case_perf(const struct command *command);

#endif
