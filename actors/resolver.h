#ifndef ACTORS_RESOLVER_H
#define ACTORS_RESOLVER_H

#include "actors/node.h"

/* Names to addresses: /dns, /dns4, /dns6 by A and AAAA records, /dnsaddr by TXT
 * records, through c-ares or a zone table.  The system's hosts file comes first.
 * Addresses without a name never come here. */

enum resolver_limits {
    RESOLVER_QUESTIONS_MAX = 256,    /* under way; beyond: refused with P2P_ERR_CALL_FULL */
    RESOLVER_ADDRESSES_MAX = 32,     /* of one answer; more are left out */
    RESOLVER_NAMES_MAX = 16,         /* looked up for one question: those its TXT records name */
    RESOLVER_LINKS_MAX = 16,         /* names whose TXT records are asked for, one after the other; ours */
    RESOLVER_SOCKETS_MAX = 64,       /* of c-ares at a time */
    RESOLVER_TIMEOUT_MS = 2000,      /* of one question to one server, doubled by each further try */
    RESOLVER_TRIES = 3,
    RESOLVER_UDP_BYTES = 1232,       /* of an answer without TCP; DNS flag day 2020 */
};

#define RESOLVER_CONFIG_NS_MAX 60000000000ull /* after this an idle resolver reads its configuration again */
#define RESOLVER_REFUSED_NS 10000000ull       /* between looks at a socket that the driver has no room to watch */

enum resolver_message {
    RESOLVER_MSG_RESOLVE = MESSAGE_OWN, /* request: from resolver_tell() */
    RESOLVER_MSG_RESOLVED = 192,        /* answer: buffer holds a struct resolver_answer */
};

struct resolver_answer {
    int error;  /* 0; P2P_ERR_CONN_UNREACHABLE (no such name, or no server); P2P_ERR_CALL_FULL, _NOMEM */
    char why[128];
    uint32_t others; /* addresses that lead somewhere we cannot dial */
    uint32_t count;
    struct multiaddr addresses[RESOLVER_ADDRESSES_MAX]; /* dialable TCP, without /p2p */
};

/* Answers of a made-up name service. */
enum resolver_record_type {
    RESOLVER_RECORD_A,
    RESOLVER_RECORD_AAAA,
    RESOLVER_RECORD_TXT,
};

struct resolver_record {
    const char *name;
    enum resolver_record_type type;
    const char *value;
};

struct resolver_zone {
    const struct resolver_record *records;
    size_t count;
};

extern const struct actor_class resolver_class;

/* Asks; RESOLVER_MSG_RESOLVED (or MESSAGE_GONE) comes back with `request_id`.
 * 0, P2P_ERR_CALL_FULL or P2P_ERR_CALL_NOMEM. */
int resolver_tell(struct actor_context *context, struct actor_ref resolver, uint32_t request_id,
                  const struct multiaddr *question);

#endif
