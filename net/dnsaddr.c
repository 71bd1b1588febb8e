#include "net/dnsaddr.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "chorus/p2p.h"

static const char name_prefix[] = "_dnsaddr.";
static const char txt_prefix[] = "dnsaddr=";

enum { ENTRIES_FIRST = 8 };

static_assert(sizeof(name_prefix) - 1 + MULTIADDR_HOST_SIZE <= DNSADDR_NAME_SIZE, "the longest name fits");

static bool is_dnsaddr(const struct multiaddr *m)
{
    struct multiaddr_component first;
    size_t offset = 0;
    return multiaddr_next(m, &offset, &first) && first.code == MULTIADDR_DNSADDR;
}

int dnsaddr_name(char *name, size_t size, const struct multiaddr *m)
{
    char host[MULTIADDR_HOST_SIZE];
    enum multiaddr_code kind;
    if (multiaddr_host(m, host, sizeof(host), &kind) != 0 || kind != MULTIADDR_DNSADDR)
        return P2P_ERR_CALL_NOT_FOUND;
    size_t prefix = sizeof(name_prefix) - 1, length = strlen(host);
    if (prefix + length >= size)
        return P2P_ERR_CALL_SHORT;
    memcpy(name, name_prefix, prefix);
    memcpy(name + prefix, host, length + 1);
    return 0;
}

int dnsaddr_parse(struct multiaddr *m, const char *txt, size_t length)
{
    size_t prefix = sizeof(txt_prefix) - 1;
    if (length < prefix || memcmp(txt, txt_prefix, prefix) != 0)
        return P2P_ERR_CALL_NOT_FOUND;
    if (length > DNSADDR_TXT_BYTES_MAX)
        return P2P_ERR_CALL_UNSUPPORTED;
    return multiaddr_from_chars(m, txt + prefix, length - prefix, NULL, 0);
}

bool dnsaddr_matches(const struct multiaddr *question, const struct multiaddr *answer)
{
    struct multiaddr_component component;
    size_t tail = 0, offset = 0;
    if (!multiaddr_next(question, &tail, &component))
        return false;
    size_t length = question->length - tail;
    while (answer->length - offset > length)
        multiaddr_next(answer, &offset, &component);
    /* The tail must begin where a component of the answer does. */
    return answer->length - offset == length &&
           memcmp(answer->bytes + offset, question->bytes + tail, length) == 0;
}

/* Room for one more; false with *error set. */
static bool grow(struct dnsaddr_walk *walk, int *error)
{
    *error = 0;
    if (walk->count < walk->capacity)
        return true;
    if (walk->count == DNSADDR_ADDRS_MAX)
        return false;
    unsigned capacity = walk->capacity ? 2u * walk->capacity : ENTRIES_FIRST;
    if (capacity > DNSADDR_ADDRS_MAX)
        capacity = DNSADDR_ADDRS_MAX;
    struct dnsaddr_entry *entries = realloc(walk->entries, capacity * sizeof(*entries));
    if (!entries) {
        *error = P2P_ERR_CALL_NOMEM;
        return false;
    }
    walk->entries = entries;
    walk->capacity = (uint16_t)capacity;
    return true;
}

static int add(struct dnsaddr_walk *walk, const struct multiaddr *m, unsigned depth)
{
    int error;
    for (unsigned i = 0; i < walk->count; i++) {
        if (multiaddr_equal(&walk->entries[i].addr, m))
            return 0;
    }
    if (!grow(walk, &error))
        return error;
    struct dnsaddr_entry *entry = &walk->entries[walk->count++];
    entry->addr = *m;
    entry->depth = (uint8_t)depth;
    entry->asked = false;
    return 0;
}

int dnsaddr_walk_init(struct dnsaddr_walk *walk, const struct multiaddr *m)
{
    memset(walk, 0, sizeof(*walk));
    return is_dnsaddr(m) ? add(walk, m, 0) : P2P_ERR_CALL_NOT_FOUND;
}

void dnsaddr_walk_fini(struct dnsaddr_walk *walk)
{
    free(walk->entries);
    memset(walk, 0, sizeof(*walk));
}

bool dnsaddr_walk_next(struct dnsaddr_walk *walk, char name[DNSADDR_NAME_SIZE])
{
    for (unsigned i = 0; i < walk->count; i++) {
        struct dnsaddr_entry *entry = &walk->entries[i];
        if (entry->asked || entry->depth >= DNSADDR_DEPTH_MAX || !is_dnsaddr(&entry->addr))
            continue;
        int error = dnsaddr_name(name, DNSADDR_NAME_SIZE, &entry->addr);
        assert(error == 0);
        entry->asked = true;
        walk->asking = (uint16_t)i;
        return true;
    }
    return false;
}

int dnsaddr_walk_txt(struct dnsaddr_walk *walk, const char *txt, size_t length)
{
    assert(walk->asking < walk->count);
    const struct dnsaddr_entry *question = &walk->entries[walk->asking];
    struct multiaddr answer;
    if (dnsaddr_parse(&answer, txt, length) != 0 || !dnsaddr_matches(&question->addr, &answer))
        return 0;
    return add(walk, &answer, question->depth + 1u);
}

bool dnsaddr_walk_result(struct dnsaddr_walk *walk, struct multiaddr *m)
{
    while (walk->result < walk->count) {
        const struct dnsaddr_entry *entry = &walk->entries[walk->result++];
        if (is_dnsaddr(&entry->addr))
            continue;
        *m = entry->addr;
        return true;
    }
    return false;
}
