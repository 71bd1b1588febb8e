#include "actors/hosts.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool parse(struct sockaddr_storage *out, const char *text)
{
    struct sockaddr_in *in = (struct sockaddr_in *)out;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;

    memset(out, 0, sizeof(*out));
    if (inet_pton(AF_INET, text, &in->sin_addr) == 1)
        out->ss_family = AF_INET;
    else if (inet_pton(AF_INET6, text, &in6->sin6_addr) == 1)
        out->ss_family = AF_INET6;
    return out->ss_family != AF_UNSPEC;
}

static size_t append(struct sockaddr_storage *out, size_t count, size_t capacity, const char *text, int family)
{
    struct sockaddr_storage address;

    if (count == capacity || !parse(&address, text) || (family != AF_UNSPEC && address.ss_family != family))
        return count;
    out[count] = address;
    return count + 1;
}

/* A last dot changes nothing. */
static size_t name_length(const char *name)
{
    size_t length = strlen(name);

    return length > 1 && name[length - 1] == '.' ? length - 1 : length;
}

size_t hosts_local(struct sockaddr_storage *out, size_t capacity, const char *name, int family)
{
    static const char local[] = "localhost";
    size_t length = name_length(name);
    size_t local_length = sizeof(local) - 1;

    if (length < local_length || strncasecmp(name + length - local_length, local, local_length) != 0 ||
        (length > local_length && name[length - local_length - 1] != '.'))
        return 0;
    size_t count = append(out, 0, capacity, "::1", family);
    return append(out, count, capacity, "127.0.0.1", family);
}

static bool line_names(char *words, const char *name, size_t length)
{
    char *state;

    for (char *word = strtok_r(words, " \t\r\n", &state); word; word = strtok_r(NULL, " \t\r\n", &state))
        if (name_length(word) == length && strncasecmp(word, name, length) == 0)
            return true;
    return false;
}

size_t hosts_find(struct sockaddr_storage *out, size_t capacity, FILE *file, const char *name, int family)
{
    char line[1024];
    size_t count = 0, bytes = 0, length = name_length(name);

    while (bytes < HOSTS_BYTES_MAX && fgets(line, sizeof(line), file)) {
        char *state;
        bytes += strlen(line);
        line[strcspn(line, "#")] = '\0';
        char *address = strtok_r(line, " \t\r\n", &state);
        if (address && line_names(state, name, length))
            count = append(out, count, capacity, address, family);
    }
    return count;
}
