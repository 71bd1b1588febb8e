#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What the program says: complaints on stderr, and data on stdout, none of which
 * is lost without a word. */

/* Of the UTF-8 character that begins the text; 0: there is none, or it controls
 * a terminal. */
static size_t character_bytes(const unsigned char *text)
{
    size_t bytes = text[0] < 0x80 ? 1 : text[0] < 0xe0 ? 2 : text[0] < 0xf0 ? 3 : 4;

    if (text[0] < 0x20 || (text[0] >= 0x7f && text[0] < 0xc2) || text[0] > 0xf4)
        return 0;
    for (size_t i = 1; i < bytes; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    if ((text[0] == 0xc2 && text[1] < 0xa0) || (text[0] == 0xe0 && text[1] < 0xa0) ||
        (text[0] == 0xed && text[1] > 0x9f) || (text[0] == 0xf0 && text[1] < 0x90) ||
        (text[0] == 0xf4 && text[1] > 0x8f))
        return 0;
    return bytes;
}

/* What is quoted there, of a peer's or of the command line, may have anything in it. */
static void put_safely(FILE *out, const char *text)
{
    while (*text != '\0') {
        size_t bytes = character_bytes((const unsigned char *)text);

        if (bytes > 0)
            fwrite(text, 1, bytes, out);
        else
            fprintf(out, "\\x%02x", (unsigned)(unsigned char)*text);
        text += bytes > 0 ? bytes : 1;
    }
}

/* In one write: log lines go to the same place. */
void vcomplain(const char *format, va_list arguments)
{
    char *text = NULL, *line = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&line, &length);

    if (vasprintf(&text, format, arguments) < 0)
        text = NULL;
    if (out != NULL && text != NULL) {
        fputs("chorus-p2p: ", out);
        put_safely(out, text);
        fputc('\n', out);
    }
    if (out != NULL && fclose(out) == 0 && length > 0)
        fwrite(line, 1, length, stderr);
    else
        fputs("chorus-p2p: no memory for a message\n", stderr);
    free(line);
    free(text);
}

void complain(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vcomplain(format, arguments);
    va_end(arguments);
}

/* ---- data ----------------------------------------------------------------- */

static int lost_errno;    /* of the first output that was lost; -1: for another reason */
static bool loss_was_told;

static void note_loss(int number)
{
    if (lost_errno == 0)
        lost_errno = number != 0 ? number : -1;
}

void print(const char *format, ...)
{
    va_list arguments;

    errno = 0;
    va_start(arguments, format);
    if (vprintf(format, arguments) < 0)
        note_loss(errno);
    va_end(arguments);
}

enum { COLUMNS = 79 };

void print_wrapped(int indent, const char *text)
{
    int column = indent;

    for (const char *gap = ""; *text != '\0'; gap = " ") {
        int word = (int)strcspn(text, " ");

        if (column > indent && column + 1 + word > COLUMNS) {
            print("\n%*s", indent, "");
            column = indent;
            gap = "";
        }
        print("%s%.*s", gap, word, text);
        column += word + (*gap != '\0');
        text += word + (text[word] != '\0');
    }
    print("\n");
}

bool print_bytes(const void *data, size_t length)
{
    errno = 0;
    if (fwrite(data, 1, length, stdout) != length || fflush(stdout) != 0)
        note_loss(errno);
    return lost_errno == 0;
}

void print_json(json_t *object)
{
    errno = 0;
    if (object == NULL || json_dumpf(object, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9)) != 0)
        note_loss(errno);
    print("\n");
    json_decref(object);
}

bool output_taken(void)
{
    errno = 0;
    if (fflush(stdout) != 0 || ferror(stdout))
        note_loss(errno);
    if (lost_errno != 0 && !loss_was_told)
        complain("standard output: %s; what was printed is incomplete: %s",
                 lost_errno > 0 ? strerror(lost_errno) : "memory ran out",
                 lost_errno == ENOSPC ? "free some space, or print somewhere else" : "print somewhere else");
    loss_was_told = lost_errno != 0;
    return lost_errno == 0;
}

int finish_output(int status)
{
    return output_taken() || status != EXIT_OK ? status : EXIT_FAILED;
}

/* ---- the standard descriptors ----------------------------------------------- */

int keep_standard_descriptors(void)
{
    /* So that what was closed fails as it did before, but for complaints, which have nowhere to go. */
    static const int modes[] = {O_WRONLY, O_RDONLY, O_RDWR};

    for (int i = 0; i < 3; i++) {
        if (fcntl(i, F_GETFD) < 0 && open("/dev/null", modes[i]) != i)
            return -1;
    }
    return 0;
}
