#ifndef NET_DNSADDR_H
#define NET_DNSADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/multiaddr.h"

/* dnsaddr (libp2p specs, addressing/README.md, "dnsaddr Links"): TXT records of
 * _dnsaddr.DOMAIN, each "dnsaddr=MULTIADDR", which may be dnsaddrs again.  What
 * follows the name in the question (/p2p/X) must end the answer too. */

enum {
    DNSADDR_DEPTH_MAX = 4,      /* go-libp2p: recursion limit; deeper names are left out */
    DNSADDR_ADDRS_MAX = 100,    /* go-libp2p: results of one address; more are left out */
    DNSADDR_NAME_SIZE = 264,    /* "_dnsaddr." and a name of 253 characters, with the NUL */
    DNSADDR_TXT_BYTES_MAX = 1024, /* ours: longer records hold no address we could keep */
};

/* The name whose TXT records to ask for.  Returns 0; P2P_ERR_CALL_NOT_FOUND
 * (does not begin with dnsaddr); P2P_ERR_CALL_SHORT. */
int dnsaddr_name(char *name, size_t size, const struct multiaddr *m);

/* The address in one TXT record (its strings already joined).
 * Returns 0; P2P_ERR_CALL_NOT_FOUND (a record of another kind);
 * P2P_ERR_CALL_MALFORMED or _UNSUPPORTED, as multiaddr_from_text. */
int dnsaddr_parse(struct multiaddr *m, const char *txt, size_t length);

/* True when `answer` ends in what follows the dnsaddr component of `question`. */
bool dnsaddr_matches(const struct multiaddr *question, const struct multiaddr *answer);

/* The whole resolution of one address.  Up to DNSADDR_ADDRS_MAX addresses are
 * held on the heap, those to ask about among them, so neither the memory nor
 * the number of questions can grow beyond that. */
struct dnsaddr_entry {
    struct multiaddr addr;
    uint8_t depth;
    bool asked;
};

struct dnsaddr_walk {
    struct dnsaddr_entry *entries;
    uint16_t count, capacity;
    uint16_t asking; /* the entry of the last dnsaddr_walk_next */
    uint16_t result; /* the next entry dnsaddr_walk_result looks at */
};

/* Returns 0; P2P_ERR_CALL_NOT_FOUND (`m` does not begin with dnsaddr); P2P_ERR_CALL_NOMEM. */
int dnsaddr_walk_init(struct dnsaddr_walk *walk, const struct multiaddr *m);
void dnsaddr_walk_fini(struct dnsaddr_walk *walk);

/* The next name to ask for; false when there is none left.  One question at a
 * time: its records are given to dnsaddr_walk_txt before the next call. */
bool dnsaddr_walk_next(struct dnsaddr_walk *walk, char name[DNSADDR_NAME_SIZE]);

/* A TXT record of that name.  What does not parse, does not match or is too
 * much is left out.  Returns 0 or P2P_ERR_CALL_NOMEM. */
int dnsaddr_walk_txt(struct dnsaddr_walk *walk, const char *txt, size_t length);

/* The addresses found, none of them a dnsaddr, each once; false at the end. */
bool dnsaddr_walk_result(struct dnsaddr_walk *walk, struct multiaddr *m);

#endif
