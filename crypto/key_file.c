#include "crypto/key_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "chorus/p2p.h"
#include "crypto/crypto.h"

enum {
    FILE_MODE = 0600,
};

/* Says why, and gives back the error. */
__attribute__((format(printf, 3, 4)))
static int explain(char *why, int error, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): set above; lost on it after several files */
    vsnprintf(why, KEY_FILE_WHY_BYTES, format, arguments);
    va_end(arguments);
    return error;
}

/* The remedy for what the operating system said. */
static const char *remedy_of(int number)
{
    switch (number) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return "free some space and try again";
    case EACCES:
    case EPERM:
        return "give this user access, or name another place";
    case EROFS:
        return "name a place that can be written";
    case ENOENT:
        return "create its folder first";
    case ENOTDIR:
    case ENAMETOOLONG:
        return "correct the path";
    default:
        return "try again, or name another place";
    }
}

static int explain_errno(char *why, const char *what, const char *path)
{
    int number = errno;

    return explain(why, P2P_ERR_NODE_KEY, "cannot %s the key file %s: %s; %s",
                   what, path, strerror(number), remedy_of(number));
}

/* ---- reading ---- */

static int check_file(char *why, const char *path, int fd)
{
    struct stat status;

    if (fstat(fd, &status) != 0)
        return explain_errno(why, "look at", path);
    if (!S_ISREG(status.st_mode))
        return explain(why, P2P_ERR_NODE_KEY, "the key file %s is not a plain file; name another one", path);
    if (status.st_uid != geteuid() && status.st_uid != 0)
        return explain(why, P2P_ERR_NODE_KEY, "the key file %s belongs to another user; if it is a key of "
                       "yours, run: chown %u %s", path, (unsigned)geteuid(), path);
    if ((status.st_mode & 07777 & ~FILE_MODE) != 0)
        return explain(why, P2P_ERR_NODE_KEY, "the key file %s has mode %04o, so others may use it; "
                       "if it is a key of yours, run: chmod 600 %s", path, (unsigned)(status.st_mode & 07777), path);
    return 0;
}

/* Reads to the end, or one byte beyond what a key may have. */
static ssize_t read_all(int fd, uint8_t *out, size_t capacity)
{
    size_t at = 0;

    while (at < capacity) {
        ssize_t part = read(fd, out + at, capacity - at);

        if (part < 0 && errno == EINTR)
            continue;
        if (part < 0)
            return -1;
        if (part == 0)
            break;
        at += (size_t)part;
    }
    return (ssize_t)at;
}

static int parse_key(struct key **key, char *why, const char *path, const uint8_t *data, size_t length)
{
    static const char pem_begin[] = {'-', '-', '-', '-', '-', 'B', 'E', 'G', 'I', 'N'};
    int error;

    if (length == 0)
        return explain(why, P2P_ERR_NODE_KEY, "the key file %s is empty; restore it from a copy, or move it away",
                       path);
    if (length > KEY_FILE_BYTES_MAX)
        return explain(why, P2P_ERR_NODE_KEY, "the key file %s is larger than any key (over %d bytes); "
                       "name the right file", path, KEY_FILE_BYTES_MAX);
    error = key_from_protobuf(key, data, length);
    if (error == 0)
        return 0;
    if (error == P2P_ERR_CALL_NOMEM)
        return explain(why, error, "no memory to read the key file %s", path);
    if (error == P2P_ERR_CALL_UNSUPPORTED)
        return explain(why, P2P_ERR_NODE_KEY, "the key file %s holds a key of a kind or size that is not "
                       "supported; use Ed25519, RSA of 2048 to 8192 bits, secp256k1 or ECDSA P-256", path);
    if (length > sizeof(pem_begin) && memcmp(data, pem_begin, sizeof(pem_begin)) == 0)
        return explain(why, P2P_ERR_NODE_KEY, "the key file %s is PEM text, and not a private key in libp2p's "
                       "protobuf, the one form that is read; convert it, or name another file", path);
    return explain(why, P2P_ERR_NODE_KEY, "the key file %s is damaged, or no libp2p private key; restore it "
                   "from a copy, or move it away", path);
}

int key_file_read(struct key **key, char why[KEY_FILE_WHY_BYTES], const char *path)
{
    uint8_t data[KEY_FILE_BYTES_MAX + 1];
    ssize_t length;
    int error;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK); /* a pipe must not hold us up */

    if (fd < 0 && errno == ENOENT)
        return explain(why, P2P_ERR_CALL_NOT_FOUND, "there is no key file %s; create one, or name another",
                       path);
    if (fd < 0)
        return explain_errno(why, "open", path);
    error = check_file(why, path, fd);
    if (error == 0) {
        length = read_all(fd, data, sizeof(data));
        error = length < 0 ? explain_errno(why, "read", path)
                           : parse_key(key, why, path, data, (size_t)length);
        crypto_wipe(data, sizeof(data));
    }
    close(fd);
    return error;
}

/* ---- writing ---- */

static bool write_all(int fd, const uint8_t *data, size_t length)
{
    while (length > 0) {
        ssize_t part = write(fd, data, length);

        if (part < 0 && errno == EINTR)
            continue;
        if (part < 0)
            return false;
        data += part;
        length -= (size_t)part;
    }
    return true;
}

/* A file on the way to `path`: nameless where the file system can do that,
 * else under a name of its own beside it. */
struct draft {
    int fd;
    char folder[PATH_MAX];
    char name[PATH_MAX]; /* empty when nameless */
};

static bool draft_open(struct draft *draft, const char *path, bool nameless)
{
    const char *slash = strrchr(path, '/');
    size_t folder_length = slash == NULL ? 0 : slash == path ? 1 : (size_t)(slash - path);

    draft->fd = -1;
    draft->name[0] = '\0';
    if (strlen(path) + sizeof(".XXXXXX") > sizeof(draft->name)) {
        errno = ENAMETOOLONG;
        return false;
    }
    memcpy(draft->folder, slash == NULL ? "." : path, slash == NULL ? 1 : folder_length);
    draft->folder[slash == NULL ? 1 : folder_length] = '\0';
    if (nameless) {
        draft->fd = open(draft->folder, O_TMPFILE | O_WRONLY | O_CLOEXEC, FILE_MODE);
        return draft->fd >= 0;
    }
    snprintf(draft->name, sizeof(draft->name), "%s.XXXXXX", path);
    draft->fd = mkostemp(draft->name, O_CLOEXEC);
    if (draft->fd < 0)
        draft->name[0] = '\0';
    return draft->fd >= 0;
}

/* Gives it its name, which nobody may have yet. */
static bool draft_publish(const struct draft *draft, const char *path)
{
    char link_path[32];

    if (draft->name[0] != '\0')
        return renameat2(AT_FDCWD, draft->name, AT_FDCWD, path, RENAME_NOREPLACE) == 0;
    snprintf(link_path, sizeof(link_path), "/proc/self/fd/%d", draft->fd);
    return linkat(AT_FDCWD, link_path, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0;
}

/* A name is only safe once its folder is. */
static bool sync_folder(const struct draft *draft)
{
    int fd = open(draft->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool synced = fd >= 0 && (fsync(fd) == 0 || errno == EINVAL); /* some file systems need none */
    int number = errno;

    if (fd >= 0)
        close(fd);
    errno = number;
    return synced;
}

/* 0, or -1 with errno; nothing of it is left on failure. */
static int write_file(const char *path, const uint8_t *data, size_t length, bool nameless)
{
    struct draft draft;
    bool published = false, done = false;
    int number;

    if (draft_open(&draft, path, nameless)) {
        published = fchmod(draft.fd, FILE_MODE) == 0 && write_all(draft.fd, data, length) &&
                    fsync(draft.fd) == 0 && draft_publish(&draft, path);
        done = published && sync_folder(&draft);
    }
    number = errno;
    if (published && !done)
        unlink(path);
    if (!published && draft.name[0] != '\0')
        unlink(draft.name);
    if (draft.fd >= 0)
        close(draft.fd);
    errno = number;
    return done ? 0 : -1;
}

/* Errors of a file system without nameless files, or of a system without /proc. */
static bool wants_a_name(int number)
{
    return number == EOPNOTSUPP || number == EISDIR || number == EINVAL || number == ENOENT;
}

static int explain_exists(char *why, const char *path)
{
    return explain(why, P2P_ERR_CALL_EXISTS, "%s exists already; name another file, or remove it first",
                   path);
}

int key_file_write(const struct key *key, char why[KEY_FILE_WHY_BYTES], const char *path)
{
    uint8_t data[KEY_FILE_BYTES_MAX];
    struct stat status;
    size_t length;
    int result;

    if (lstat(path, &status) == 0)
        return explain_exists(why, path);
    if (key_to_protobuf(key, data, sizeof(data), &length) != 0)
        return explain(why, P2P_ERR_NODE_KEY, "the key for %s cannot be written down; make another one",
                       path);
    result = write_file(path, data, length, true);
    if (result != 0 && wants_a_name(errno))
        result = write_file(path, data, length, false);
    crypto_wipe(data, sizeof(data));
    if (result != 0 && errno == EEXIST)
        return explain_exists(why, path);
    return result == 0 ? 0 : explain_errno(why, "write", path);
}
