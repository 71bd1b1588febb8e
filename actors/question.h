#ifndef ACTORS_QUESTION_H
#define ACTORS_QUESTION_H

#include "actors/resolver.h"
#include "net/dnsaddr.h"

/* A question under way, for the resolver alone: which names are still to be
 * looked up for it, and what has been found.  It asks nobody itself, but for a
 * made-up zone. */

enum question_state {
    QUESTION_READY,   /* the resolver decides what comes next */
    QUESTION_HOSTS,   /* an offload thread looks into the hosts file */
    QUESTION_CHANNEL, /* waits for the configuration to be read */
    QUESTION_DNS,     /* c-ares has it */
};

struct resolver;

struct question {
    struct question *next;
    struct resolver *resolver;
    struct message request;     /* who asked; without its buffer */
    enum question_state state;
    bool walking;               /* through dnsaddr records; hosts come afterwards */
    unsigned links;             /* of the walk, followed so far */
    struct dnsaddr_walk walk;
    char txt_name[DNSADDR_NAME_SIZE]; /* the walk's name to ask for; empty: a host */
    struct multiaddr names[RESOLVER_NAMES_MAX]; /* begin with a name to look up; name_at is the next */
    unsigned name_count, name_at;
    struct resolver_answer answer;
};

/* NULL when memory is out. */
struct question *question_new(struct resolver *resolver, const struct message *request,
                              const struct multiaddr *address);
void question_free(struct question *question);

/* The next name to ask for TXT records, in txt_name; false when there is none
 * (left): then names[name_at] is next, as long as that is below name_count. */
bool question_next_txt(struct question *question);
/* A TXT record of txt_name. */
void question_take_txt(struct question *question, const char *text, size_t length);
/* An address of names[name_at]. */
void question_take_address(struct question *question, const struct sockaddr *resolved);
/* What to say if nothing is found. */
void question_say_why(struct question *question, const char *name, const char *why);
/* The zone's records of `name`: txt_name's, or those of names[name_at], which is
 * done with that; `family` AF_UNSPEC for both. */
void question_ask_zone(struct question *question, const struct resolver_zone *zone, const char *name, int family);
/* The answer, complete. */
const struct resolver_answer *question_answer(struct question *question);

#endif
