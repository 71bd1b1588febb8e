#include "actors/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void text_set(struct p2p_error_text *error, const char *format, ...)
{
    va_list arguments;

    if (!error)
        return;
    va_start(arguments, format);
    int length = vsnprintf(error->text, sizeof(error->text), format, arguments);
    va_end(arguments);
    if (length < 0)
        error->text[0] = '\0';
    else if ((size_t)length >= sizeof(error->text))
        memcpy(error->text + sizeof(error->text) - 4, "...", 4);
}
