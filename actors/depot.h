#ifndef ACTORS_DEPOT_H
#define ACTORS_DEPOT_H

#include <stddef.h>

/* Small objects that stay as long as a peer does, of all nodes of a runtime.  On
 * the heap they would stand between what handshakes take and give back, and keep
 * those pages.  Any thread. */

struct depot;

struct depot *depot_new(void); /* NULL when memory is out */
/* All has been given back.  NULL is fine. */
void depot_free(struct depot *depot);
/* Zeroed; NULL when memory is out.  0 bytes are an object, too. */
void *depot_take(struct depot *depot, size_t bytes);
/* `bytes` as it was taken.  NULL is fine. */
void depot_give(struct depot *depot, void *object, size_t bytes);

#endif
