#include <assert.h>
#include <string.h>

#include "net/dnsaddr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Lines: the first is the question, an empty one ends the answers to a name. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct multiaddr m;
    struct dnsaddr_walk walk;
    char name[DNSADDR_NAME_SIZE];
    const char *text = (const char *)data, *end = text + size;
    const char *line = size ? memchr(text, '\n', size) : NULL;
    if (!line || multiaddr_from_chars(&m, text, (size_t)(line - text), NULL, 0) != 0)
        return 0;
    bool asking = dnsaddr_walk_init(&walk, &m) == 0 && dnsaddr_walk_next(&walk, name);
    for (text = line + 1; asking && text < end; text = line + 1) {
        line = memchr(text, '\n', (size_t)(end - text));
        if (!line)
            line = end;
        if (line == text)
            asking = dnsaddr_walk_next(&walk, name);
        else
            assert(dnsaddr_walk_txt(&walk, text, (size_t)(line - text)) == 0);
        assert(walk.count <= DNSADDR_ADDRS_MAX);
    }
    while (dnsaddr_walk_result(&walk, &m))
        assert(!multiaddr_is_none(&m));
    dnsaddr_walk_fini(&walk);
    return 0;
}
