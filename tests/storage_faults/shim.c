/* Makes file operations of a process fail, for tests/storage_faults.rs. Loaded with LD_PRELOAD.
 *
 * FAULT_PATH: operations on files whose path starts with it can fail.
 * FAULT_CONTROL: a file of seven 64-bit numbers, shared with the test:
 *   0 first operation that fails, counted from 1; 0: none fails
 *   1 how many operations fail
 *   2 errno
 *   3 which kinds count: 1 write, 2 sync, 4 truncate, 8 lock
 *   4 1: a write that fails stores the first half of its bytes
 *   5 operations counted so far
 *   6 operations failed so far
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

enum { WRITE = 1, SYNC = 2, TRUNCATE = 4, LOCK = 8 };

static volatile long long *control;
static const char *prefix;

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("FAULT_CONTROL");
    prefix = getenv("FAULT_PATH");
    if (!path || !prefix)
        return;
    int fd = open(path, O_RDWR);
    if (fd < 0)
        return;
    void *shared = mmap(NULL, 7 * sizeof(long long), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shared != MAP_FAILED)
        control = shared;
    close(fd);
}

static int concerns(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return strncmp(path, prefix, strlen(prefix)) == 0;
}

static int fails(int fd, int kind) {
    if (!control || control[0] == 0 || !(control[3] & kind))
        return 0;
    int saved = errno;
    int concerned = concerns(fd);
    errno = saved;
    if (!concerned)
        return 0;
    long long number = __sync_add_and_fetch(&control[5], 1);
    if (number < control[0] || number - control[0] >= control[1])
        return 0;
    __sync_add_and_fetch(&control[6], 1);
    errno = (int)control[2];
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define POSITIONED(name, offset_type)                                                    \
    ssize_t name(int fd, const void *bytes, size_t count, offset_type at) {              \
        static __typeof__(&name) real;                                                   \
        if (!real)                                                                       \
            real = REAL(name);                                                           \
        if (fails(fd, WRITE)) {                                                          \
            int error = errno;                                                           \
            if (control[4])                                                              \
                (void)!real(fd, bytes, count / 2, at);                                   \
            errno = error;                                                               \
            return -1;                                                                   \
        }                                                                                \
        return real(fd, bytes, count, at);                                               \
    }
POSITIONED(pwrite, off_t)
POSITIONED(pwrite64, off64_t)

ssize_t write(int fd, const void *bytes, size_t count) {
    static __typeof__(&write) real;
    if (!real)
        real = REAL(write);
    return fails(fd, WRITE) ? -1 : real(fd, bytes, count);
}

#define SYNCING(name)                                                                    \
    int name(int fd) {                                                                   \
        static __typeof__(&name) real;                                                   \
        if (!real)                                                                       \
            real = REAL(name);                                                           \
        return fails(fd, SYNC) ? -1 : real(fd);                                          \
    }
SYNCING(fsync)
SYNCING(fdatasync)

#define TRUNCATING(name, length_type)                                                    \
    int name(int fd, length_type length) {                                               \
        static __typeof__(&name) real;                                                   \
        if (!real)                                                                       \
            real = REAL(name);                                                           \
        return fails(fd, TRUNCATE) ? -1 : real(fd, length);                              \
    }
TRUNCATING(ftruncate, off_t)
TRUNCATING(ftruncate64, off64_t)

/* Taking a lock may fail; releasing one never fails. */
#define CONTROLLING(name)                                                                \
    int name(int fd, int command, ...) {                                                 \
        static int (*real)(int, int, void *);                                            \
        if (!real)                                                                       \
            real = (int (*)(int, int, void *))dlsym(RTLD_NEXT, #name);                   \
        va_list rest;                                                                    \
        va_start(rest, command);                                                         \
        void *argument = va_arg(rest, void *);                                           \
        va_end(rest);                                                                    \
        if (command == F_SETLK && ((struct flock *)argument)->l_type != F_UNLCK          \
            && fails(fd, LOCK))                                                          \
            return -1;                                                                   \
        return real(fd, command, argument);                                              \
    }
CONTROLLING(fcntl)
CONTROLLING(fcntl64)
