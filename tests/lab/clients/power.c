/* Loaded into a program (LD_PRELOAD), it notes what the program changes in files below the
 * directory $POWER_BELOW and what it makes durable, in their order, in the file $POWER_TRACE. A
 * test makes of it what a disk may have when the power goes at any of these moments.
 *
 * An entry: nanoseconds of CLOCK_MONOTONIC, kind, bytes of the path, offset, bytes of the data (five
 * little-endian 64-bit numbers), then path and data. Changes are noted before they are made and
 * syncs after, so that nothing counts as durable too early. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum kind { WRITE, SIZE, SYNC, REMOVE, RENAME };

static int trace = -1;
static const char *below;
static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

/* Before the program gives up opening files elsewhere. */
__attribute__((constructor)) static void begin(void) {
	const char *path = getenv("POWER_TRACE");
	below = getenv("POWER_BELOW");
	if (path && below)
		trace = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void note(enum kind kind, const char *path, uint64_t offset, const void *data, size_t bytes) {
	if (trace < 0 || strncmp(path, below, strlen(below)))
		return;
	struct timespec now;
	pthread_mutex_lock(&one_at_a_time);
	clock_gettime(CLOCK_MONOTONIC, &now);
	uint64_t head[5] = { now.tv_sec * 1000000000ull + now.tv_nsec, kind, strlen(path), offset, bytes };
	struct iovec parts[3] = {
		{ head, sizeof head }, { (void *)path, strlen(path) }, { (void *)data, bytes }
	};
	if (writev(trace, parts, 3) != (ssize_t)(sizeof head + strlen(path) + bytes))
		abort();
	pthread_mutex_unlock(&one_at_a_time);
}

static void note_fd(enum kind kind, int fd, uint64_t offset, const void *data, size_t bytes) {
	char link[64], path[PATH_MAX];
	if (fd == trace || trace < 0)
		return;
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t len = readlink(link, path, sizeof path - 1);
	if (len <= 0 || path[0] != '/')
		return;
	path[len] = 0;
	note(kind, path, offset, data, bytes);
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *data, size_t bytes) {
	off_t at = lseek(fd, 0, SEEK_CUR);
	if (at >= 0)
		note_fd(WRITE, fd, at, data, bytes);
	return NEXT(write)(fd, data, bytes);
}

ssize_t pwrite(int fd, const void *data, size_t bytes, off_t at) {
	note_fd(WRITE, fd, at, data, bytes);
	return NEXT(pwrite)(fd, data, bytes, at);
}

ssize_t pwrite64(int fd, const void *data, size_t bytes, off64_t at) {
	note_fd(WRITE, fd, at, data, bytes);
	return NEXT(pwrite64)(fd, data, bytes, at);
}

int ftruncate(int fd, off_t bytes) {
	note_fd(SIZE, fd, bytes, "", 0);
	return NEXT(ftruncate)(fd, bytes);
}

int ftruncate64(int fd, off64_t bytes) {
	note_fd(SIZE, fd, bytes, "", 0);
	return NEXT(ftruncate64)(fd, bytes);
}

int fsync(int fd) {
	int failed = NEXT(fsync)(fd);
	if (!failed)
		note_fd(SYNC, fd, 0, "", 0);
	return failed;
}

int fdatasync(int fd) {
	int failed = NEXT(fdatasync)(fd);
	if (!failed)
		note_fd(SYNC, fd, 0, "", 0);
	return failed;
}

int unlink(const char *path) {
	note(REMOVE, path, 0, "", 0);
	return NEXT(unlink)(path);
}

int rename(const char *from, const char *to) {
	note(RENAME, from, 0, to, strlen(to));
	return NEXT(rename)(from, to);
}
