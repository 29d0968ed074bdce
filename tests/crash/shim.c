/* Loaded before libc (LD_PRELOAD): sees every file operation below one folder, made by Python or
 * by SQLite alike, and can record it, fail it, or kill the process at it. Linux, tests only.
 *
 * A record: op (1 byte), inode, offset, length (8 bytes each, little endian), then `length`
 * bytes. The op: C created, W written, T cut to `offset`, S file synced, D folder synced,
 * R renamed ("old\0new"), L linked, U unlinked, M folder made, X failed, A acknowledged
 * (offset: which).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { WRITES = 1, SYNCS = 2, NAMES = 4 };            /* classes of operations */
enum { SKIP_VECTORS = 1, SKIP_FOLDERS = 2, SKIP_INDEXES = 4 }; /* syncs that only pretend */
enum { BEFORE = 0, MIDWAY = 1, AFTER = 2 };

static char root[4096];
static int log_fd = -1, fail_mask, fail_errno, fail_sticky, skip, kill_when;
static long count, failing, fail_at = -1, kill_at = -1, quota = -1;


/* -- called from Python by ctypes ------------------------------------------------------ */

void shim_watch(const char *folder) { strncpy(root, folder, sizeof root - 1); count = 0; }
void shim_record(const char *path) {
    log_fd = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
}
void shim_skip(int which) { skip = which; }
void shim_fail(long nth, int mask, int error, int sticky) {
    fail_at = nth; fail_mask = mask; fail_errno = error; fail_sticky = sticky; count = failing = 0;
}
void shim_quota(long bytes) { quota = bytes; }
void shim_kill(long nth, int when) { kill_at = nth; kill_when = when; count = 0; }

/* -- helpers ----------------------------------------------------------------------------- */

static int has_end(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);
    return n >= m && !strcmp(s + n - m, end);
}

static int watched(const char *path) {
    size_t n = strlen(root);
    return n && path && !strncmp(path, root, n) && !has_end(path, "-shm") && !has_end(path, "/lock");
}

static int watched_fd(int fd, char *path, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = root[0] ? readlink(link, path, size - 1) : -1;
    if (n < 0) return 0;
    path[n] = 0;
    return watched(path);
}

static void emit(char op, uint64_t inode, uint64_t offset, const void *data, uint64_t size) {
    char head[25];
    if (log_fd < 0) return;
    head[0] = op;
    memcpy(head + 1, &inode, 8); memcpy(head + 9, &offset, 8); memcpy(head + 17, &size, 8);
    syscall(SYS_write, log_fd, head, sizeof head);
    if (size) syscall(SYS_write, log_fd, data, size);
}

static void emit_pair(char op, const char *a, const char *b) {
    char both[8192];
    size_t n = strlen(a) + 1, m = strlen(b);
    memcpy(both, a, n); memcpy(both + n, b, m);
    emit(op, 0, 0, both, n + m);
}

/* So that the n-th record is the n-th operation counted. errno is the caller's. */
static void failed(void) { int error = errno; emit('X', 0, 0, NULL, 0); errno = error; }

void shim_ack(long number) { emit('A', 0, number, NULL, 0); }

static void die(int signal_) { (void)signal_; syscall(SYS_kill, getpid(), SIGKILL); }

/* SIGKILL after so many microseconds, wherever the process is then. */
void shim_kill_after(long us) {
    struct itimerval timer = {{0, 0}, {us / 1000000, us % 1000000}};
    signal(SIGALRM, die);
    setitimer(ITIMER_REAL, &timer, NULL);
}

/* Count one operation; -1 if it is to fail. The count goes over all classes, so that the
 * number of a kill is the number in the record; failures count their own classes alone. */
static int begin(int mask) {
    count++;
    if (count == kill_at && kill_when == BEFORE) die(0);
    if (fail_at >= 0 && (mask & fail_mask)) {
        failing++;
        if (failing == fail_at || (fail_sticky && failing > fail_at)) { errno = fail_errno; return -1; }
    }
    return 0;
}
static void end(void) { if (count == kill_at && kill_when != BEFORE) die(0); }

static uint64_t inode_of(int fd) { struct stat s; return fstat(fd, &s) ? 0 : s.st_ino; }

/* -- the operations ---------------------------------------------------------------------- */

static int opened(const char *path, int flags, mode_t mode) {
    int mine = watched(path) && (flags & O_ACCMODE) != O_RDONLY;
    int there = mine && !syscall(SYS_access, path, F_OK);
    int creates = mine && (flags & O_CREAT) && !there;
    int cuts = there && (flags & O_TRUNC);
    if ((creates || cuts) && begin(NAMES)) return -1;
    int fd = syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    if (fd < 0 || !mine) return fd;
    if (creates) emit('C', inode_of(fd), 0, path, strlen(path));
    if (cuts) emit('T', inode_of(fd), 0, NULL, 0);
    if (creates || cuts) end();
    return fd;
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        mode_t mode = 0; \
        if (flags & (O_CREAT | O_TMPFILE)) { va_list a; va_start(a, flags); mode = va_arg(a, int); va_end(a); } \
        return opened(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)
int __open_2(const char *path, int flags) { return opened(path, flags, 0); }
int __open64_2(const char *path, int flags) { return opened(path, flags, 0); }

/* offset < 0: at the file's position. */
static ssize_t written(int fd, const void *data, size_t size, off_t offset) {
    char path[4096];
    int mine = watched_fd(fd, path, sizeof path);
    struct stat s;
    if (!mine) return offset < 0 ? syscall(SYS_write, fd, data, size)
                                 : syscall(SYS_pwrite64, fd, data, size, offset);
    if (begin(WRITES)) return -1;
    off_t at = offset < 0 ? lseek(fd, 0, SEEK_CUR) : offset;
    fstat(fd, &s);
    if (quota >= 0 && at + (off_t)size > s.st_size) {
        off_t grows = at + (off_t)size - (at > s.st_size ? at : s.st_size);
        if (grows > quota) {
            if (size - grows + quota == 0) { errno = ENOSPC; return -1; }
            size -= grows - quota; grows = quota; /* as a real disk: a short write, then none */
        }
        quota -= grows;
    }
    if (count == kill_at && kill_when == MIDWAY) size /= 2;
    ssize_t n = syscall(SYS_pwrite64, fd, data, size, at);
    if (n >= 0) {
        if (offset < 0) lseek(fd, at + n, SEEK_SET);
        emit('W', s.st_ino, at, data, n);
    } else failed();
    end();
    return n;
}
ssize_t write(int fd, const void *d, size_t n) { return written(fd, d, n, -1); }
ssize_t pwrite(int fd, const void *d, size_t n, off_t o) { return written(fd, d, n, o); }
ssize_t pwrite64(int fd, const void *d, size_t n, off64_t o) { return written(fd, d, n, o); }

static int cut(int fd, off_t size) {
    char path[4096];
    int mine = watched_fd(fd, path, sizeof path);
    if (mine && begin(NAMES)) return -1;
    int result = syscall(SYS_ftruncate, fd, size);
    if (mine) { if (!result) emit('T', inode_of(fd), size, NULL, 0); else failed(); end(); }
    return result;
}
int ftruncate(int fd, off_t size) { return cut(fd, size); }
int ftruncate64(int fd, off64_t size) { return cut(fd, size); }

static int cut_path(const char *path, off_t size) {
    int fd = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0);
    if (fd < 0) return -1;
    int result = cut(fd, size), error = errno;
    syscall(SYS_close, fd);
    errno = error;
    return result;
}
int truncate(const char *path, off_t size) { return cut_path(path, size); }
int truncate64(const char *path, off64_t size) { return cut_path(path, size); }

static int synced(int fd, long number) {
    char path[4096];
    struct stat s;
    if (!watched_fd(fd, path, sizeof path) || fstat(fd, &s)) return syscall(number, fd);
    int folder = S_ISDIR(s.st_mode);
    /* SQLite's own sync of its folder stays: only what the store adds to it is left out. */
    int ours = has_end(path, "/vec") || has_end(path, "/idx");
    if ((ours && (skip & SKIP_FOLDERS)) || ((skip & SKIP_VECTORS) && has_end(path, ".vec")) ||
        ((skip & SKIP_INDEXES) && strstr(path, "/idx/") && !folder)) return 0;
    if (begin(SYNCS)) return -1;
    /* Not done for real: who is killed leaves the page cache behind, and a power cut is
     * played from the record. */
    if (folder) emit('D', 0, 0, path, strlen(path)); else emit('S', s.st_ino, 0, path, strlen(path));
    end();
    return 0;
}
int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

int rename(const char *a, const char *b) {
    int mine = watched(a) || watched(b);
    if (mine && begin(NAMES)) return -1;
    int result = syscall(SYS_rename, a, b);
    if (mine) { if (!result) emit_pair('R', a, b); else failed(); end(); }
    return result;
}
int link(const char *a, const char *b) {
    int mine = watched(b);
    if (mine && begin(NAMES)) return -1;
    int result = syscall(SYS_link, a, b);
    if (mine) { if (!result) emit_pair('L', a, b); else failed(); end(); }
    return result;
}
int linkat(int x, const char *a, int y, const char *b, int flags) {
    int mine = watched(b);
    if (mine && begin(NAMES)) return -1;
    int result = syscall(SYS_linkat, x, a, y, b, flags);
    if (mine) { if (!result) emit_pair('L', a, b); else failed(); end(); }
    return result;
}
int unlink(const char *path) {
    int mine = watched(path);
    if (mine && begin(NAMES)) return -1;
    int result = syscall(SYS_unlink, path);
    if (mine) { if (!result) emit('U', 0, 0, path, strlen(path)); else failed(); end(); }
    return result;
}
int mkdir(const char *path, mode_t mode) {
    int mine = watched(path);
    if (mine && begin(NAMES)) return -1;
    int result = syscall(SYS_mkdir, path, mode);
    if (mine) { if (!result) emit('M', 0, 0, path, strlen(path)); else failed(); end(); }
    return result;
}
