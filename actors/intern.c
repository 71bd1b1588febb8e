#include "actors/intern.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void intern_init(struct interns *interns, uint64_t seed)
{
    table_init(&interns->table, sizeof(uint64_t), INTERN_BLOBS_MAX, seed);
    interns->seed = seed;
    interns->bytes = 0;
}

void intern_fini(struct interns *interns)
{
    assert(table_count(&interns->table) == 0);
    table_fini(&interns->table);
}

static struct intern_blob *blob_new(const void *bytes, size_t length, uint64_t hash)
{
    struct intern_blob *blob = malloc(sizeof(*blob) + length + 1);

    if (!blob)
        return NULL;
    blob->hash = hash;
    blob->refs = 1;
    blob->length = (uint32_t)length;
    if (length > 0)
        memcpy(blob->bytes, bytes, length);
    blob->bytes[length] = 0;
    return blob;
}

struct intern_blob *intern_ref(struct interns *interns, const void *bytes, size_t length)
{
    uint64_t hash = table_hash(bytes, length, interns->seed);
    struct intern_blob *first = table_find_pointer(&interns->table, &hash);

    for (struct intern_blob *blob = first; blob; blob = blob->next) {
        if (blob->length == length && memcmp(blob->bytes, bytes, length) == 0) {
            blob->refs++;
            return blob;
        }
    }
    struct intern_blob *blob = blob_new(bytes, length, hash);
    if (!blob)
        return NULL;
    blob->next = first;
    if (table_set(&interns->table, &hash, (uint64_t)(uintptr_t)blob) < 0) {
        free(blob);
        return NULL;
    }
    interns->bytes += sizeof(*blob) + length + 1;
    return blob;
}

void intern_unref(struct interns *interns, struct intern_blob *blob)
{
    if (!blob || --blob->refs > 0)
        return;
    struct intern_blob *first = table_find_pointer(&interns->table, &blob->hash);
    if (first != blob) {
        while (first->next != blob)
            first = first->next;
        first->next = blob->next;
    } else if (blob->next) {
        int error = table_set(&interns->table, &blob->hash, (uint64_t)(uintptr_t)blob->next);
        assert(!error); /* the key is there: nothing is allocated */
    } else {
        table_remove(&interns->table, &blob->hash, NULL);
    }
    interns->bytes -= sizeof(*blob) + blob->length + 1;
    free(blob);
}
