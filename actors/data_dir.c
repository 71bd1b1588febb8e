#include "actors/data_dir.h"

#include "actors/config.h"
#include "actors/text.h"
#include "crypto/key_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the identity ---- */

static int make_directory(const char *path, struct p2p_error_text *text)
{
    char partial[CONFIG_PATH_BYTES_MAX];
    size_t length = strlen(path);

    if (length >= sizeof(partial))
        return P2P_ERR_CALL_INVALID;
    memcpy(partial, path, length + 1);
    for (size_t i = 1; i <= length; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        partial[i] = '\0';
        if (mkdir(partial, 0700) < 0 && errno != EEXIST && errno != EISDIR && errno != EROFS) {
            text_set(text, "the data directory %.300s cannot be made: %s; choose another one or change the "
                     "permissions above it", path, strerror(errno));
            return P2P_ERR_NODE_KEY;
        }
        partial[i] = path[i];
    }
    return 0;
}

int data_dir_key(struct key **key, const char *directory, struct p2p_error_text *text)
{
    char path[CONFIG_PATH_BYTES_MAX + 16];
    char why[KEY_FILE_WHY_BYTES] = "";
    int error = make_directory(directory, text);

    if (error)
        return error;
    snprintf(path, sizeof(path), "%s/identity.key", directory);
    error = key_file_read(key, why, path);
    if (error == P2P_ERR_CALL_NOT_FOUND) {
        error = key_new_random(key, KEY_ED25519, 0);
        if (!error && (error = key_file_write(*key, why, path)) < 0) {
            key_free(*key);
            *key = NULL;
        }
        if (error == P2P_ERR_CALL_EXISTS) /* somebody else was faster: it is the identity */
            error = key_file_read(key, why, path);
    }
    if (error)
        text_set(text, "%s", why[0] ? why : p2p_error_string(error));
    return error;
}

/* ---- the lock ---- */

/* A file in it; or the directory itself where none can be written: a mount for
 * reading only may well hold an identity. */
static int open_lock(const char *directory)
{
    char path[CONFIG_PATH_BYTES_MAX + 16];
    int lock;

    snprintf(path, sizeof(path), "%s/lock", directory);
    lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    return lock >= 0 ? lock : open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Who has it, by the number that it left there; 0 when it left none. */
static long holder(int lock)
{
    char digits[24] = "";

    return pread(lock, digits, sizeof(digits) - 1, 0) > 0 ? strtol(digits, NULL, 10) : 0;
}

/* For people and for the sentence below; a disk that is full does not matter. */
static void leave_number(int lock)
{
    char digits[24];
    int length = snprintf(digits, sizeof(digits), "%ld\n", (long)getpid());

    if (ftruncate(lock, 0) == 0)
        (void)!pwrite(lock, digits, (size_t)length, 0);
}

static int refuse(int lock, const char *directory, struct p2p_error_text *text)
{
    long process = holder(lock);
    char who[48] = "another process";

    if (process > 0)
        snprintf(who, sizeof(who), "process %ld", process);
    text_set(text, "the data directory %.300s is in use by a node of %s; end that one, or choose another directory",
             directory, who);
    return P2P_ERR_NODE_IN_USE;
}

static int fail(int number, const char *directory, struct p2p_error_text *text)
{
    bool full = number == EMFILE || number == ENFILE;

    text_set(text, "the data directory %.300s cannot be locked: %s; %s", directory, strerror(number),
             full ? "raise the limit of open files" : "choose one on a disk of this machine");
    return P2P_ERR_NODE_SYSTEM;
}

int data_dir_lock(int *out, const char *directory, struct p2p_error_text *text)
{
    int error = make_directory(directory, text);
    int lock = error ? -1 : open_lock(directory);

    if (error)
        return error;
    if (lock < 0)
        return fail(errno, directory, text);
    if (flock(lock, LOCK_EX | LOCK_NB) < 0) {
        error = errno == EWOULDBLOCK ? refuse(lock, directory, text) : fail(errno, directory, text);
        close(lock);
        return error;
    }
    leave_number(lock);
    *out = lock;
    return 0;
}

void data_dir_unlock(int lock)
{
    if (lock < 0)
        return;
    (void)!ftruncate(lock, 0);
    flock(lock, LOCK_UN); /* a child of a fork() may have the descriptor, too */
    close(lock);
}
