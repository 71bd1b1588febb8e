#ifndef CRYPTO_CRYPTO_H
#define CRYPTO_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>

/* Library start-up and the few helpers that all of crypto/ shares. */

/* Readies libsodium.  Call it before anything else here; again is harmless.
 * Any thread.  Returns 0 or P2P_ERR_NODE_SYSTEM. */
int crypto_init(void);

/* Compares the ciphers, the hash and the curve of this machine with published
 * values, and both AEAD libraries with each other around the size where we
 * change over.  Takes about 1 ms.  Returns 0, or P2P_ERR_NODE_SYSTEM: then nothing
 * may be sent. */
int crypto_self_test(void);

/* Overwrites secrets; the compiler may not leave it out. */
void crypto_wipe(void *data, size_t length);

/* Compares in time that does not depend on the contents. */
bool crypto_equal(const void *a, const void *b, size_t length);

#endif
