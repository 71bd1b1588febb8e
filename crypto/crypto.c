#include "crypto/crypto.h"

#include <sodium.h>

#include "chorus/p2p.h"

int crypto_init(void)
{
    return sodium_init() < 0 ? P2P_ERR_NODE_SYSTEM : 0;
}

void crypto_wipe(void *data, size_t length)
{
    sodium_memzero(data, length);
}

bool crypto_equal(const void *a, const void *b, size_t length)
{
    return sodium_memcmp(a, b, length) == 0;
}
