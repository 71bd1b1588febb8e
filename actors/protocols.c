#include "actors/protocols.h"

#include <stdlib.h>
#include <string.h>

/* A name once used; kept, and used again by the next protocol of that name. */
struct name {
    struct name *next;
    size_t length;
    char text[];
};

struct entry {
    struct protocol protocol;
    size_t name_length;
};

struct protocols {
    pthread_rwlock_t lock;
    struct name *names;
    struct entry entries[P2P_PROTOCOLS_MAX];
    size_t count;
};

struct protocols *protocols_new(void)
{
    struct protocols *protocols = calloc(1, sizeof(*protocols));

    if (protocols)
        pthread_rwlock_init(&protocols->lock, NULL);
    return protocols;
}

void protocols_free(struct protocols *protocols)
{
    if (!protocols)
        return;
    while (protocols->names) {
        struct name *name = protocols->names;
        protocols->names = name->next;
        free(name);
    }
    pthread_rwlock_destroy(&protocols->lock);
    free(protocols);
}

/* It must fit a multistream message of its own, which a newline ends. */
bool protocols_name_is_valid(const char *name, size_t length)
{
    if (length == 0 || length >= P2P_PROTOCOL_BYTES_MAX)
        return false;
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)name[i] <= 0x20 || name[i] == 0x7f)
            return false;
    return true;
}

static struct name *intern(struct protocols *protocols, const char *text, size_t length)
{
    struct name *name = protocols->names;

    while (name && (name->length != length || memcmp(name->text, text, length) != 0))
        name = name->next;
    if (name)
        return name;
    name = malloc(sizeof(*name) + length + 1);
    if (!name)
        return NULL;
    name->length = length;
    memcpy(name->text, text, length + 1);
    name->next = protocols->names;
    protocols->names = name;
    return name;
}

static struct entry *find_exact(struct protocols *protocols, const char *name, size_t length)
{
    for (size_t i = 0; i < protocols->count; i++) {
        struct entry *entry = &protocols->entries[i];
        if (entry->name_length == length && memcmp(entry->protocol.name, name, length) == 0)
            return entry;
    }
    return NULL;
}

static int add_locked(struct protocols *protocols, const struct protocol *protocol, size_t length)
{
    if (find_exact(protocols, protocol->name, length))
        return P2P_ERR_CALL_EXISTS;
    if (protocols->count == P2P_PROTOCOLS_MAX)
        return P2P_ERR_CALL_FULL;
    struct name *name = intern(protocols, protocol->name, length);
    if (!name)
        return P2P_ERR_CALL_NOMEM;
    struct entry *entry = &protocols->entries[protocols->count++];
    entry->protocol = *protocol;
    entry->protocol.name = name->text;
    entry->name_length = length;
    return 0;
}

int protocols_add(struct protocols *protocols, const struct protocol *protocol)
{
    size_t length = protocol->name ? strlen(protocol->name) : 0;

    if (!protocols_name_is_valid(protocol->name, length) || (protocol->flags & ~(unsigned)P2P_HANDLE_PREFIX))
        return P2P_ERR_CALL_INVALID;
    pthread_rwlock_wrlock(&protocols->lock);
    int error = add_locked(protocols, protocol, length);
    pthread_rwlock_unlock(&protocols->lock);
    return error;
}

int protocols_remove(struct protocols *protocols, const char *name)
{
    int error = P2P_ERR_CALL_NOT_FOUND;

    if (!name)
        return P2P_ERR_CALL_INVALID;
    pthread_rwlock_wrlock(&protocols->lock);
    struct entry *entry = find_exact(protocols, name, strlen(name));
    if (entry) {
        struct entry *end = &protocols->entries[--protocols->count];
        memmove(entry, entry + 1, (size_t)((char *)end - (char *)entry));
        error = 0;
    }
    pthread_rwlock_unlock(&protocols->lock);
    return error;
}

/* The exact one, else the longest prefix of `name`. */
static struct entry *find_best(struct protocols *protocols, const char *name, size_t length)
{
    struct entry *best = find_exact(protocols, name, length);

    if (best)
        return best;
    for (size_t i = 0; i < protocols->count; i++) {
        struct entry *entry = &protocols->entries[i];
        if ((entry->protocol.flags & P2P_HANDLE_PREFIX) && entry->name_length < length &&
            (!best || entry->name_length > best->name_length) &&
            memcmp(entry->protocol.name, name, entry->name_length) == 0)
            best = entry;
    }
    return best;
}

bool protocols_find(struct protocols *protocols, const char *name, size_t name_length, struct protocol *out)
{
    pthread_rwlock_rdlock(&protocols->lock);
    struct entry *entry = find_best(protocols, name, name_length);
    if (entry)
        *out = entry->protocol;
    pthread_rwlock_unlock(&protocols->lock);
    return entry != NULL;
}

size_t protocols_list(struct protocols *protocols, const char **out, size_t capacity)
{
    size_t count = 0;

    pthread_rwlock_rdlock(&protocols->lock);
    for (size_t i = 0; i < protocols->count; i++) {
        if (protocols->entries[i].protocol.flags & P2P_HANDLE_PREFIX)
            continue;
        if (count < capacity)
            out[count] = protocols->entries[i].protocol.name;
        count++;
    }
    pthread_rwlock_unlock(&protocols->lock);
    return count;
}
