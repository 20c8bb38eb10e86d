/* Preloaded into a child of the tests: stands between it and the disk, the network and the clock, and does what its parent orders (LD_PRELOAD).
 *
 * FAULTS_FOLDER   the folder whose files count; a file that is only memory shared between processes (`-shm`) is not one of them
 * FAULTS_CONTROL  a file of numbers (enum control), mapped: the parent writes orders into it and reads counters from it, at any time
 * FAULTS_LOG      when set: what reached the files, call by call (struct record); tests/faults/disk.rs makes of it what a power cut may leave
 *
 * A call to a file is one at a time, with its record in the log. Who dies holds the lock, so nothing else happens to the files afterwards. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* What is counted; the order is that of Kind in power.rs. */
enum kind { WRITE, TRUNCATE, SYNC, RENAME, UNLINK, SEND, RECEIVE, KINDS };

/* Where each number stands in the control file, as 64 bit integers; the order is that of `place` in power.rs. */
enum control {
    KILL_AT,     /* order: SIGKILL at this counted call, from 1; 0: never */
    KILL_AFTER,  /* order: after that call, not before it */
    COUNTED,     /* order: the kinds of call that are counted, a bit each */
    FULL_FROM,   /* order: from this write on, from 1, there is no space; 0: there is */
    FULL_SHORT,  /* order: every other write that has no space writes its first half */
    SYNC_FAILS,  /* order: this sync, from 1, fails with EIO, and what it should have written counts as written; 0: none */
    BASE_FAILS,  /* order: as SYNC_FAILS, of the syncs of a database itself, not of its log or journal */
    LIES,        /* order: syncs are said to be done and are not */
    CLOCK_NS,    /* order: added to the time of day */
    LATER_NS,    /* order: added to every clock; unless 0, whoever waits looks at it again after a moment */
    CALLS,       /* counter: calls that are counted */
    KILLED_BY,   /* counter: kind of the call that killed, from 1 */
    REFUSED,     /* counter: writes that had no space, syncs that failed */
    OF_KIND,     /* counters: calls of each kind */
    CONTROL_LEN = OF_KIND + KINDS
};

/* Head of an entry of the log; the name and then the data follow. An empty name is the folder itself. */
struct record {
    uint32_t what;
    uint32_t name_len;
    uint64_t offset; /* of a write; of a truncation the new length */
    uint64_t data_len;
};
enum what { WROTE, TRUNCATED, CREATED, REMOVED, RENAMED, SYNCED, SYNC_FAILED };

static int64_t *control;
static const char *folder;
static size_t folder_len;
static int log_fd = -1;
static int short_turn;
static int64_t base_syncs;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) \
    ({ \
        static __typeof__(name) *real_; \
        if (!real_) real_ = (__typeof__(name) *)dlsym(RTLD_NEXT, #name); \
        real_; \
    })

static int64_t order(enum control at) { return control ? __atomic_load_n(&control[at], __ATOMIC_SEQ_CST) : 0; }
static int64_t count(int at) { return control ? __atomic_add_fetch(&control[at], 1, __ATOMIC_SEQ_CST) : 0; }

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("FAULTS_CONTROL"), *log = getenv("FAULTS_LOG");
    folder = getenv("FAULTS_FOLDER");
    folder_len = folder ? strlen(folder) : 0;
    int fd = name ? REAL(open64)(name, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0 || !folder_len) {
        fprintf(stderr, "power.c: FAULTS_CONTROL and FAULTS_FOLDER are needed\n");
        _exit(99);
    }
    void *at = mmap(NULL, CONTROL_LEN * sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (log) log_fd = REAL(open64)(log, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (at == MAP_FAILED || (log && log_fd < 0)) {
        fprintf(stderr, "power.c: FAULTS_CONTROL or FAULTS_LOG cannot be used\n");
        _exit(99);
    }
    control = at;
}

/* A process that ends does not leave a call without its record. */
__attribute__((destructor)) static void end(void) { pthread_mutex_lock(&lock); }

/* The name of a path below the folder; NULL for all others, and for shared memory. */
static const char *name_of(const char *path) {
    if (!folder_len || strncmp(path, folder, folder_len) != 0) return NULL;
    if (path[folder_len] == '\0') return path + folder_len;
    size_t len = strlen(path);
    if (path[folder_len] != '/' || (len > 4 && strcmp(path + len - 4, "-shm") == 0)) return NULL;
    return path + folder_len + 1;
}

/* As name_of, for what is open; it fills `path`. A file that was removed has no name any more. */
static const char *name_of_fd(int fd, char path[PATH_MAX]) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, PATH_MAX - 1);
    if (len <= 0) return NULL;
    path[len] = '\0';
    return name_of(path);
}

static int is_tcp(int fd) {
    int type = 0, domain = 0, saved = errno;
    socklen_t len = sizeof type;
    int tcp = getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM;
    len = sizeof domain;
    tcp = tcp && getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && (domain == AF_INET || domain == AF_INET6);
    errno = saved;
    return tcp;
}

static void die(enum kind kind) {
    __atomic_store_n(&control[KILLED_BY], kind + 1, __ATOMIC_SEQ_CST);
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* Before a call that counts; gives its number for after_call. The lock is held. */
static int64_t before_call(enum kind kind) {
    count(OF_KIND + kind);
    if (!(order(COUNTED) >> kind & 1)) return -1;
    int64_t number = count(CALLS);
    if (number == order(KILL_AT) && !order(KILL_AFTER)) die(kind);
    return number;
}

static void after_call(enum kind kind, int64_t number) {
    if (number == order(KILL_AT) && order(KILL_AFTER)) die(kind);
}

static void record(enum what what, const char *name, uint64_t offset, const void *data, size_t data_len) {
    struct record head = {what, strlen(name), offset, data_len};
    struct iovec parts[] = {{&head, sizeof head}, {(void *)name, head.name_len}, {(void *)data, data_len}};
    int saved = errno;
    ssize_t whole = sizeof head + head.name_len + data_len;
    if (log_fd >= 0 && REAL(writev)(log_fd, parts, 3) != whole) {
        fprintf(stderr, "power.c: the log cannot be written\n");
        abort();
    }
    errno = saved;
}

/* How much of a write of `len` bytes there is space for; -1: none. */
static ssize_t space(size_t len, int64_t nth) {
    int64_t from = order(FULL_FROM);
    if (from == 0 || nth < from) return len;
    short_turn = !short_turn;
    return order(FULL_SHORT) && short_turn && len > 1 ? (ssize_t)(len / 2) : -1;
}

/* A write to a file of ours: `real` does it for as many bytes as it is told. */
#define FILE_WRITE(name, len, real, at) \
    pthread_mutex_lock(&lock); \
    int64_t number = before_call(WRITE); \
    ssize_t may = space(len, order(OF_KIND + WRITE)), done = -1; \
    if (may < 0) errno = ENOSPC; \
    else done = (real); \
    if (done < 0 && errno == ENOSPC) count(REFUSED); \
    if (done > 0) record(WROTE, name, (at), buffer, done); \
    after_call(WRITE, number); \
    pthread_mutex_unlock(&lock); \
    return done

/* A call to a socket: it may wait, so the lock is not held meanwhile. */
#define SOCKET_CALL(kind, real) \
    pthread_mutex_lock(&lock); \
    int64_t number = before_call(kind); \
    pthread_mutex_unlock(&lock); \
    ssize_t done = (real); \
    int saved = errno; \
    pthread_mutex_lock(&lock); \
    after_call(kind, number); \
    pthread_mutex_unlock(&lock); \
    errno = saved; \
    return done

ssize_t write(int fd, const void *buffer, size_t len) {
    char path[PATH_MAX];
    const char *name = name_of_fd(fd, path);
    if (name) {
        FILE_WRITE(name, len, REAL(write)(fd, buffer, may), lseek64(fd, 0, SEEK_CUR) - done);
    }
    if (!is_tcp(fd)) return REAL(write)(fd, buffer, len);
    SOCKET_CALL(SEND, REAL(write)(fd, buffer, len));
}

ssize_t pwrite64(int fd, const void *buffer, size_t len, off64_t offset) {
    char path[PATH_MAX];
    const char *name = name_of_fd(fd, path);
    if (!name) return REAL(pwrite64)(fd, buffer, len, offset);
    FILE_WRITE(name, len, REAL(pwrite64)(fd, buffer, may, offset), offset);
}
ssize_t pwrite(int fd, const void *buffer, size_t len, off_t offset) { return pwrite64(fd, buffer, len, offset); }

int ftruncate64(int fd, off64_t len) {
    char path[PATH_MAX];
    const char *name = name_of_fd(fd, path);
    if (!name) return REAL(ftruncate64)(fd, len);
    pthread_mutex_lock(&lock);
    int64_t number = before_call(TRUNCATE);
    int done = REAL(ftruncate64)(fd, len);
    if (done == 0) record(TRUNCATED, name, len, NULL, 0);
    after_call(TRUNCATE, number);
    pthread_mutex_unlock(&lock);
    return done;
}
int ftruncate(int fd, off_t len) { return ftruncate64(fd, len); }

static int fails(const char *name) {
    if (strchr(name, '-') == NULL && *name != '\0' && ++base_syncs == order(BASE_FAILS)) return 1;
    return order(OF_KIND + SYNC) == order(SYNC_FAILS);
}

/* What is in memory outlives a kill, and power is cut only in the model: the disk need not be waited for, which on a busy one takes most of a
 * test's time. */
static int sync_file(int fd, int (*real)(int)) {
    char path[PATH_MAX];
    const char *name = name_of_fd(fd, path);
    if (!name) return real(fd);
    pthread_mutex_lock(&lock);
    int64_t number = before_call(SYNC);
    int done = 0;
    if (fails(name)) {
        record(SYNC_FAILED, name, 0, NULL, 0);
        count(REFUSED);
        errno = EIO;
        done = -1;
    } else if (!order(LIES)) {
        record(SYNCED, name, 0, NULL, 0);
    }
    after_call(SYNC, number);
    pthread_mutex_unlock(&lock);
    return done;
}
int fsync(int fd) { return sync_file(fd, REAL(fsync)); }
int fdatasync(int fd) { return sync_file(fd, REAL(fdatasync)); }

/* The name in our folder of a path that `at` belongs to; absolute, as SQLite and the standard library give them. */
#define NAMED(path) (path && path[0] == '/' ? name_of(path) : NULL)

static int remove_file(const char *path, int at, int flags) {
    const char *name = flags & AT_REMOVEDIR ? NULL : NAMED(path);
    if (!name) return REAL(unlinkat)(at, path, flags);
    pthread_mutex_lock(&lock);
    int64_t number = before_call(UNLINK);
    int done = REAL(unlinkat)(at, path, flags);
    if (done == 0) record(REMOVED, name, 0, NULL, 0);
    after_call(UNLINK, number);
    pthread_mutex_unlock(&lock);
    return done;
}
int unlink(const char *path) { return remove_file(path, AT_FDCWD, 0); }
int unlinkat(int at, const char *path, int flags) { return remove_file(path, at, flags); }

int rename(const char *from, const char *to) {
    const char *name = NAMED(from), *becomes = NAMED(to);
    if (!name || !becomes) return REAL(rename)(from, to);
    pthread_mutex_lock(&lock);
    int64_t number = before_call(RENAME);
    int done = REAL(rename)(from, to);
    if (done == 0) record(RENAMED, name, 0, becomes, strlen(becomes));
    after_call(RENAME, number);
    pthread_mutex_unlock(&lock);
    return done;
}

/* Opening is not counted; a file that it makes or empties is recorded. */
static int open_file(int at, const char *path, int flags, mode_t mode) {
    const char *name = flags & (O_CREAT | O_TRUNC) ? NAMED(path) : NULL;
    if (!name) return REAL(openat64)(at, path, flags, mode);
    pthread_mutex_lock(&lock);
    int is_new = faccessat(at, path, F_OK, 0) != 0;
    int fd = REAL(openat64)(at, path, flags, mode);
    if (fd >= 0 && is_new) record(CREATED, name, 0, NULL, 0);
    else if (fd >= 0 && (flags & O_TRUNC)) record(TRUNCATED, name, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return fd;
}
#define MODE(after) \
    mode_t mode = 0; \
    if (flags & (O_CREAT | O_TMPFILE)) { \
        va_list rest; \
        va_start(rest, after); \
        mode = va_arg(rest, mode_t); \
        va_end(rest); \
    }
int open(const char *path, int flags, ...) { MODE(flags) return open_file(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return open_file(AT_FDCWD, path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { MODE(flags) return open_file(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE(flags) return open_file(at, path, flags, mode); }

ssize_t send(int fd, const void *buffer, size_t len, int flags) {
    if (!is_tcp(fd)) return REAL(send)(fd, buffer, len, flags);
    SOCKET_CALL(SEND, REAL(send)(fd, buffer, len, flags));
}
ssize_t sendto(int fd, const void *buffer, size_t len, int flags, const struct sockaddr *to, socklen_t to_len) {
    if (!is_tcp(fd)) return REAL(sendto)(fd, buffer, len, flags, to, to_len);
    SOCKET_CALL(SEND, REAL(sendto)(fd, buffer, len, flags, to, to_len));
}
ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    if (!is_tcp(fd)) return REAL(sendmsg)(fd, message, flags);
    SOCKET_CALL(SEND, REAL(sendmsg)(fd, message, flags));
}
/* Of files none of ours is written so; the tests see it when one is. */
ssize_t writev(int fd, const struct iovec *parts, int len) {
    if (!is_tcp(fd)) return REAL(writev)(fd, parts, len);
    SOCKET_CALL(SEND, REAL(writev)(fd, parts, len));
}
ssize_t recv(int fd, void *buffer, size_t len, int flags) {
    if (!is_tcp(fd)) return REAL(recv)(fd, buffer, len, flags);
    SOCKET_CALL(RECEIVE, REAL(recv)(fd, buffer, len, flags));
}

static void add(struct timespec *time, int64_t ns) {
    time->tv_sec += ns / 1000000000;
    time->tv_nsec += ns % 1000000000;
    if (time->tv_nsec >= 1000000000) time->tv_sec++, time->tv_nsec -= 1000000000;
    if (time->tv_nsec < 0) time->tv_sec--, time->tv_nsec += 1000000000;
}

/* The time of day may step; what measures durations only ever goes on, at times in leaps. */
int clock_gettime(clockid_t clock, struct timespec *time) {
    int done = REAL(clock_gettime)(clock, time);
    int of_day = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
    int of_durations = clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE || clock == CLOCK_BOOTTIME;
    if (done == 0 && of_day) add(time, order(CLOCK_NS) + order(LATER_NS));
    if (done == 0 && of_durations) add(time, order(LATER_NS));
    return done;
}
int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    (void)zone;
    struct timespec now;
    int done = clock_gettime(CLOCK_REALTIME, &now);
    if (done == 0) *time = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
    return done;
}
time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}

/* Waits end early while time leaps: who waits sees that its time has not come, or that it has, and waits on. */
enum { MOMENT_MS = 2 };
int epoll_wait(int fd, struct epoll_event *events, int most, int timeout) {
    if (order(LATER_NS) && (timeout < 0 || timeout > MOMENT_MS)) timeout = MOMENT_MS;
    return REAL(epoll_wait)(fd, events, most, timeout);
}
long syscall(long number, ...) {
    long words[6];
    va_list rest;
    va_start(rest, number);
    for (int at = 0; at < 6; at++) words[at] = va_arg(rest, long);
    va_end(rest);
    struct timespec moment;
    if (number == SYS_futex && (words[1] & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET && words[3] && order(LATER_NS)) {
        REAL(clock_gettime)(words[1] & FUTEX_CLOCK_REALTIME ? CLOCK_REALTIME : CLOCK_MONOTONIC, &moment);
        add(&moment, MOMENT_MS * 1000000);
        words[3] = (long)&moment;
    }
    return REAL(syscall)(number, words[0], words[1], words[2], words[3], words[4], words[5]);
}
