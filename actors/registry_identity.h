#ifndef ACTORS_REGISTRY_IDENTITY_H
#define ACTORS_REGISTRY_IDENTITY_H

#include "actors/intern.h"
#include "actors/registry.h"

/* What a peer told of itself, as the registry keeps it: versions and protocols
 * interned, addresses packed.  Under the registry's mutex. */

struct registry_told {
    struct intern_blob *agent; /* NULL: not identified yet */
    struct intern_blob *version;
    struct intern_blob *protocols; /* terminated strings, one after the other */
    uint8_t *addresses; /* lengths (2 bytes) and binary addresses; the observed one first, maybe empty */
    uint64_t record_seq;
    uint32_t addresses_bytes;
    uint8_t key_type;
    bool signed_record;
};

/* Replaces what was told before.  Addresses that a peer at `remote` should not
 * name, and what is over the bounds, are left out.  0 or P2P_ERR_CALL_NOMEM:
 * then nothing has changed. */
int registry_told_set(struct registry_told *told, struct interns *interns, const struct identify_result *result,
                      const struct peer_id *id, const struct multiaddr *remote);
void registry_told_clear(struct registry_told *told, struct interns *interns);
bool registry_told_speaks(const struct registry_told *told, const char *protocol);
/* 0 or P2P_ERR_CALL_NOMEM. */
int registry_told_copy(const struct registry_told *told, struct p2p_identity **out, const struct peer_id *id);

#endif
