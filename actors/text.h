#ifndef ACTORS_TEXT_H
#define ACTORS_TEXT_H

#include "chorus/p2p.h"

/* Writes the sentence; cut with "..." when it is too long.  `error` may be NULL. */
void text_set(struct p2p_error_text *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
