/*
 * Stands between a test process and its file system (LD_PRELOAD, Linux with /proc).
 *
 * Only files directly in the directory PORTOLAN_SHIM_DIR (an absolute path without links) and the
 * directory itself are of interest; every other call goes straight on. What is done with them:
 *
 * - PORTOLAN_SHIM_LOG names a file that gets a record of every change, in the order in which the
 *   changes were made: files made, written, resized, synced, renamed and removed.
 * - PORTOLAN_SHIM_REPORT names a file that gets a line of letters, one for each call and its kind.
 *   The call of number PORTOLAN_SHIM_CALL, counted from 1, fails as PORTOLAN_SHIM_FAULT says.
 *
 * The file "acknowledged" is the test's own: what is written there is logged, so that the log tells
 * when something was promised, but it is not counted and never fails.
 *
 * Changes made through a map are not seen. The database makes none; LMDB's lock file, which it does
 * change so, means nothing after a restart.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* Kinds of records, as in log.rs. */
enum { MADE = 1, WRITTEN, RESIZED, SYNCED, SYNCED_DIRECTORY, RENAMED, REMOVED };

/* The function of the C library that this file hides. */
#define REAL(result, name, ...)                                                                    \
    static result (*real)(__VA_ARGS__);                                                            \
    if (!real)                                                                                     \
        *(void **)&real = dlsym(RTLD_NEXT, name)

/* Most parts of one write that can be cut short: LMDB writes up to 64 pages at once. */
#define PARTS_MAX 256

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char directory[PATH_MAX];
static size_t directory_length;
static int log_file = -1;
static int report_file = -1;
static char fault[16];
static long wanted_call, calls;

static int open_ours(const char *variable)
{
    const char *path = getenv(variable);
    REAL(int, "open", const char *, int, ...);
    return path ? real(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
}

__attribute__((constructor)) static void begin(void)
{
    const char *watched = getenv("PORTOLAN_SHIM_DIR");
    const char *call = getenv("PORTOLAN_SHIM_CALL");
    const char *kind = getenv("PORTOLAN_SHIM_FAULT");
    log_file = open_ours("PORTOLAN_SHIM_LOG");
    report_file = open_ours("PORTOLAN_SHIM_REPORT");
    wanted_call = call ? atol(call) : 0;
    snprintf(fault, sizeof fault, "%s", kind ? kind : "");
    snprintf(directory, sizeof directory, "%s", watched ? watched : "");
    directory_length = strlen(directory);
}

static void fail(const char *what)
{
    /* A log with a gap would prove nothing. */
    fprintf(stderr, "shim: %s failed: %s\n", what, strerror(errno));
    abort();
}

/* The name in the directory of what has that path, "" for the directory; NULL for all else. */
static const char *name_in_directory(const char *path)
{
    if (!path || !directory_length || strncmp(path, directory, directory_length) != 0)
        return NULL;
    path += directory_length;
    if (*path == '\0')
        return path;
    return *path == '/' && !strchr(path + 1, '/') ? path + 1 : NULL;
}

/* The same of an open file. The kernel knows its name even after a renaming. */
static const char *name_of(int fd, char path[PATH_MAX])
{
    static const char deleted[] = " (deleted)";
    char link[40];
    ssize_t length;
    if (!directory_length)
        return NULL;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, PATH_MAX - 1);
    if (length < 0)
        return NULL;
    path[length] = '\0';
    if ((size_t)length > strlen(deleted) && !strcmp(path + length - strlen(deleted), deleted))
        path[length - strlen(deleted)] = '\0';
    return name_in_directory(path);
}

static int is_ours(const char *name)
{
    return !strcmp(name, "acknowledged");
}

static uint64_t inode(int fd)
{
    struct stat found;
    return fstat(fd, &found) == 0 ? found.st_ino : 0;
}

/*
 * A record: kind, whether it is durable at once, length of the name, inode, offset, length of the
 * data; then name and data. For RENAMED the data are the new name. The caller holds the mutex.
 */
static void record(int kind, int durable, const char *name, uint64_t file, uint64_t offset,
                   const struct iovec *parts, int count, size_t length)
{
    struct __attribute__((packed)) {
        uint8_t kind, durable;
        uint16_t name_length;
        uint64_t inode, offset, length;
    } head = { kind, durable, strlen(name), file, offset, length };
    struct iovec all[PARTS_MAX + 2] = { { &head, sizeof head }, { (void *)name, strlen(name) } };
    size_t total = sizeof head + strlen(name) + length;
    int used = 2;
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    if (log_file < 0)
        return;
    for (int part = 0; part < count && length > 0; part++, used++) {
        all[used] = parts[part];
        if (all[used].iov_len > length)
            all[used].iov_len = length;
        length -= all[used].iov_len;
    }
    if (real(log_file, all, used) != (ssize_t)total)
        fail("the log");
}

/*
 * Kinds of calls and the faults that each can meet:
 *   w write   s size   f sync   c make a file   m rename   o open   r read   d remove   l lock
 * "none" counts only. "full" lets all calls from the wanted one on fail for want of space. "late"
 * does what was asked and then reports an error, as a device may; the log does not take it for
 * durable. Linux does not cut reads of files
 * short, and LMDB relies on it.
 */
static const char *faults_of(char kind)
{
    switch (kind) {
    case 'w': return "enospc eio eintr short full late";
    case 's': return "enospc eio eintr full late";
    case 'f': return "enospc eio eintr late";
    case 'c': return "enospc eio eintr full";
    case 'm': return "enospc eio full late";
    case 'o': return "eio eintr";
    case 'r': return "eio eintr";
    case 'd': return "eio late";
    case 'l': return "eio eintr";
    default: return "";
    }
}

/* What becomes of this call: the letters 'x' fails with errno set, 's' short, 'l' late, or 0. */
static char fate(char kind, const char *name)
{
    char becomes = 0;
    int from_now_on = !strcmp(fault, "full");
    REAL(ssize_t, "write", int, const void *, size_t);
    if (report_file < 0 || is_ours(name))
        return 0;
    pthread_mutex_lock(&mutex);
    calls++;
    if (fault[0] && strstr(faults_of(kind), fault) &&
        (calls == wanted_call || (from_now_on && calls > wanted_call))) {
        becomes = !strcmp(fault, "short") ? 's' : !strcmp(fault, "late") ? 'l' : 'x';
        errno = !strcmp(fault, "enospc") || from_now_on ? ENOSPC
                : !strcmp(fault, "eintr")               ? EINTR
                                                        : EIO;
    }
    /* A capital letter tells that the call failed. */
    if (becomes)
        kind = kind - 'a' + 'A';
    int kept = errno;
    if (real(report_file, &kind, 1) != 1)
        fail("the report");
    errno = kept;
    pthread_mutex_unlock(&mutex);
    return becomes;
}

static int finish(char becomes, int result)
{
    if (becomes == 'l' && result >= 0) {
        errno = EIO;
        return -1;
    }
    return result;
}

/* Every kind of write; offset -1 is the position of the file. */
static ssize_t write_parts(int fd, const struct iovec *parts, int count, off_t offset)
{
    char path[PATH_MAX], becomes;
    const char *name = name_of(fd, path);
    struct iovec fewer[PARTS_MAX];
    size_t total = 0;
    ssize_t written;
    int flags;
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    static ssize_t (*real_at)(int, const struct iovec *, int, off_t);
    if (!real_at)
        *(void **)&real_at = dlsym(RTLD_NEXT, "pwritev");
    if (!name)
        return offset < 0 ? real(fd, parts, count) : real_at(fd, parts, count, offset);
    for (int part = 0; part < count; part++)
        total += parts[part].iov_len;
    becomes = fate('w', name);
    if (becomes == 'x')
        return -1;
    if (becomes == 's' && count <= PARTS_MAX) {
        size_t left = total / 2;
        int used = 0;
        for (; used < count && left > 0; used++) {
            fewer[used] = parts[used];
            if (fewer[used].iov_len > left)
                fewer[used].iov_len = left;
            left -= fewer[used].iov_len;
        }
        parts = fewer;
        count = used;
    }
    if (count > PARTS_MAX)
        fail("a write of too many parts");
    pthread_mutex_lock(&mutex);
    flags = fcntl(fd, F_GETFL);
    off_t begin = offset >= 0 ? offset : lseek(fd, 0, flags & O_APPEND ? SEEK_END : SEEK_CUR);
    written = offset < 0 ? real(fd, parts, count) : real_at(fd, parts, count, offset);
    if (written > 0)
        record(WRITTEN, (flags & O_DSYNC) != 0 && becomes != 'l', name, inode(fd), begin, parts,
               count, written);
    pthread_mutex_unlock(&mutex);
    return finish(becomes, written < 0 ? -1 : 0) < 0 ? -1 : written;
}

ssize_t write(int fd, const void *data, size_t length)
{
    struct iovec part = { (void *)data, length };
    return write_parts(fd, &part, 1, -1);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    return write_parts(fd, parts, count, -1);
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset)
{
    struct iovec part = { (void *)data, length };
    return write_parts(fd, &part, 1, offset);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    return write_parts(fd, parts, count, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset)
{
    return pwrite(fd, data, length, offset);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset)
{
    return pwritev(fd, parts, count, offset);
}

static int read_fate(int fd)
{
    char path[PATH_MAX];
    const char *name = report_file < 0 ? NULL : name_of(fd, path);
    return name && fate('r', name) == 'x' ? -1 : 0;
}

ssize_t read(int fd, void *data, size_t length)
{
    REAL(ssize_t, "read", int, void *, size_t);
    return read_fate(fd) < 0 ? -1 : real(fd, data, length);
}

ssize_t pread(int fd, void *data, size_t length, off_t offset)
{
    REAL(ssize_t, "pread", int, void *, size_t, off_t);
    return read_fate(fd) < 0 ? -1 : real(fd, data, length, offset);
}

ssize_t pread64(int fd, void *data, size_t length, off64_t offset)
{
    return pread(fd, data, length, offset);
}

int ftruncate(int fd, off_t length)
{
    char path[PATH_MAX], becomes;
    const char *name = name_of(fd, path);
    int result;
    REAL(int, "ftruncate", int, off_t);
    if (!name)
        return real(fd, length);
    becomes = fate('s', name);
    if (becomes == 'x')
        return -1;
    pthread_mutex_lock(&mutex);
    result = real(fd, length);
    if (result == 0)
        record(RESIZED, 0, name, inode(fd), length, NULL, 0, 0);
    pthread_mutex_unlock(&mutex);
    return finish(becomes, result);
}

int ftruncate64(int fd, off64_t length)
{
    return ftruncate(fd, length);
}

static int sync_file(int fd, int (*real)(int))
{
    char path[PATH_MAX], becomes;
    const char *name = name_of(fd, path);
    int result;
    if (!name)
        return real(fd);
    becomes = fate('f', name);
    if (becomes == 'x')
        return -1;
    pthread_mutex_lock(&mutex);
    result = real(fd);
    if (result == 0 && becomes != 'l')
        record(*name ? SYNCED : SYNCED_DIRECTORY, 0, name, inode(fd), 0, NULL, 0, 0);
    pthread_mutex_unlock(&mutex);
    return finish(becomes, result);
}

int fsync(int fd)
{
    REAL(int, "fsync", int);
    return sync_file(fd, real);
}

int fdatasync(int fd)
{
    REAL(int, "fdatasync", int);
    return sync_file(fd, real);
}

static int open_any(const char *path, int flags, mode_t mode)
{
    const char *name = name_in_directory(path);
    int made, fd;
    REAL(int, "open", const char *, int, ...);
    if (!name)
        return real(path, flags, mode);
    made = (flags & O_CREAT) && access(path, F_OK) != 0;
    if (fate(made ? 'c' : 'o', name) == 'x')
        return -1;
    pthread_mutex_lock(&mutex);
    fd = real(path, flags, mode);
    if (fd >= 0 && made)
        record(MADE, 0, name, inode(fd), 0, NULL, 0, 0);
    else if (fd >= 0 && (flags & O_TRUNC))
        record(RESIZED, 0, name, inode(fd), 0, NULL, 0, 0);
    pthread_mutex_unlock(&mutex);
    return fd;
}

/* The mode is there only if a file may be made. */
#define MODE(flags)                                                                                \
    mode_t mode = 0;                                                                               \
    if (flags & O_CREAT) {                                                                         \
        va_list rest;                                                                              \
        va_start(rest, flags);                                                                     \
        mode = va_arg(rest, mode_t);                                                               \
        va_end(rest);                                                                              \
    }

int open(const char *path, int flags, ...)
{
    MODE(flags)
    return open_any(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    MODE(flags)
    return open_any(path, flags, mode);
}

int openat(int at, const char *path, int flags, ...)
{
    MODE(flags)
    REAL(int, "openat", int, const char *, int, ...);
    return name_in_directory(path) ? open_any(path, flags, mode) : real(at, path, flags, mode);
}

int rename(const char *from, const char *to)
{
    const char *old = name_in_directory(from), *name = name_in_directory(to);
    char becomes;
    int result;
    REAL(int, "rename", const char *, const char *);
    if (!old || !name)
        return real(from, to);
    becomes = fate('m', name);
    if (becomes == 'x')
        return -1;
    pthread_mutex_lock(&mutex);
    result = real(from, to);
    if (result == 0) {
        struct iovec part = { (void *)name, strlen(name) };
        record(RENAMED, 0, old, 0, 0, &part, 1, part.iov_len);
    }
    pthread_mutex_unlock(&mutex);
    return finish(becomes, result);
}

int unlink(const char *path)
{
    const char *name = name_in_directory(path);
    char becomes;
    int result;
    REAL(int, "unlink", const char *);
    if (!name)
        return real(path);
    becomes = fate('d', name);
    if (becomes == 'x')
        return -1;
    pthread_mutex_lock(&mutex);
    result = real(path);
    if (result == 0)
        record(REMOVED, 0, name, 0, 0, NULL, 0, 0);
    pthread_mutex_unlock(&mutex);
    return finish(becomes, result);
}

int flock(int fd, int operation)
{
    char path[PATH_MAX];
    const char *name = report_file < 0 ? NULL : name_of(fd, path);
    REAL(int, "flock", int, int);
    return name && fate('l', name) == 'x' ? -1 : real(fd, operation);
}
