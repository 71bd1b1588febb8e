#ifndef CRYPTO_KEY_FILE_H
#define CRYPTO_KEY_FILE_H

#include <stddef.h>

#include "crypto/key.h"

/* Private keys in files: libp2p's protobuf, raw, mode 0600.
 *
 * These calls block: not on a worker.  `why` gets a sentence for a person on
 * every error: the path, what is wrong and what to do. */

enum {
    KEY_FILE_WHY_BYTES = 512, /* enough for a sentence and a long path; cut if not */
    KEY_FILE_BYTES_MAX = KEY_PRIVATE_BYTES_MAX,
};

/* Reads a key.  The file must be a plain one of ours (or root's) that nobody
 * else may read or write.
 * Returns 0, P2P_ERR_CALL_NOT_FOUND (no such file: make one), P2P_ERR_NODE_KEY
 * (anything else: never overwrite it), P2P_ERR_CALL_NOMEM. */
int key_file_read(struct key **key, char why[KEY_FILE_WHY_BYTES], const char *path);

/* Writes a key to a file that does not exist yet.  It appears whole and
 * synced, or not at all; an existing file is never touched.
 * Returns 0, P2P_ERR_CALL_EXISTS, P2P_ERR_NODE_KEY. */
int key_file_write(const struct key *key, char why[KEY_FILE_WHY_BYTES], const char *path);

#endif
