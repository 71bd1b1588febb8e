#ifndef ACTORS_DATA_DIR_H
#define ACTORS_DATA_DIR_H

#include "chorus/p2p.h"
#include "crypto/key.h"

/* The directory that keeps a node's identity.  These calls block: not on a
 * worker.  `text` gets a sentence on every error. */

/* Its key: read, or made there; the directory is made, too (mode 0700).
 * P2P_ERR_NODE_KEY or P2P_ERR_CALL_NOMEM. */
int data_dir_key(struct key **key, const char *directory, struct p2p_error_text *text);

/* Takes the directory for this node, until data_dir_unlock() or the end of the
 * process: two nodes with one identity would take each other's connections.
 * P2P_ERR_NODE_IN_USE names the process that has it; P2P_ERR_NODE_SYSTEM when
 * it cannot be locked. */
int data_dir_lock(int *lock, const char *directory, struct p2p_error_text *text);
/* `lock` -1: nothing is done. */
void data_dir_unlock(int lock);

#endif
