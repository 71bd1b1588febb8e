/* Key files: the input is the content of one, in memory.  A key that can be
 * read is written again, once. */
#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "chorus/p2p.h"
#include "crypto/crypto.h"
#include "crypto/key_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_once(const struct key *key)
{
    static bool written;
    char folder[] = "/tmp/fuzz_key_file.XXXXXX", path[64], why[KEY_FILE_WHY_BYTES];
    struct key *again;

    if (written)
        return;
    written = true;
    assert(mkdtemp(folder) != NULL);
    snprintf(path, sizeof(path), "%s/key", folder);
    assert(key_file_write(key, why, path) == 0);
    assert(key_file_write(key, why, path) == P2P_ERR_CALL_EXISTS);
    assert(key_file_read(&again, why, path) == 0);
    key_free(again);
    unlink(path);
    assert(key_file_read(&again, why, path) == P2P_ERR_CALL_NOT_FOUND);
    rmdir(folder);
    assert(key_file_write(key, why, path) == P2P_ERR_NODE_KEY);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64], why[KEY_FILE_WHY_BYTES] = "";
    struct key *key = NULL;
    int fd = memfd_create("key", MFD_CLOEXEC);

    assert(crypto_init() == 0 && fd >= 0);
    assert(fchmod(fd, 0600) == 0 && write(fd, data, size) == (ssize_t)size);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (key_file_read(&key, why, path) == 0) {
        write_once(key);
        key_free(key);
    } else {
        assert(key == NULL && strstr(why, path) != NULL);
    }
    close(fd);
    return 0;
}
