#include <assert.h>
#include <string.h>

#include "net/multiaddr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whatever is read is written in one canonical text, with the same bytes. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct multiaddr m, back;
    char text[MULTIADDR_TEXT_SIZE], again[MULTIADDR_TEXT_SIZE], error[MULTIADDR_ERROR_SIZE] = "";
    if (multiaddr_from_chars(&m, (const char *)data, size, error, sizeof(error)) != 0) {
        assert(error[0] != '\0');
        for (const char *c = error; *c; c++)
            assert(*c >= ' ' && *c <= '~');
        return 0;
    }
    int length = multiaddr_to_text(&m, text, sizeof(text));
    assert(length > 0 && (size_t)length == strlen(text));
    assert(multiaddr_from_text(&back, text, NULL, 0) == 0);
    assert(multiaddr_equal(&m, &back));
    assert(multiaddr_to_text(&back, again, (size_t)length + 1) == length);
    assert(strcmp(text, again) == 0);
    assert(multiaddr_from_bytes(&back, m.bytes, m.length) == 0);
    return 0;
}
