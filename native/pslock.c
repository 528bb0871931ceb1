/*
 * The straight path of a log store in one system-call-to-system-call piece: take the lock, look whether the paths still
 * name what is locked, look what is new in the data file, append a line, release. It does what LogFile, DataFile and
 * PathLock do (src/store/log/log-file.ts, src/store/data-file.ts, src/os/flock.ts), in the same order and with the same
 * system calls, so that processes with and without it exclude each other and a crash leaves the same behind.
 *
 * It knows the common case only. Whatever is odd (another file, an edit in place, a torn tail, an error of any kind)
 * makes it undo what it did and answer ODD: then nothing has happened, and TypeScript looks at it and says what it is.
 */
#define _GNU_SOURCE
#define NAPI_VERSION 8
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <node_api.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#endif

/* Answers. */
#define DONE 0
#define NEWS 1
#define BUSY (-1)
#define ODD (-2)

/* As in src/store/log/units.ts and log-file.ts. */
#define BLOCK_BYTES 4096
#define REMEMBERED_BYTES 32
#define AT_ONCE_BYTES (1 << 20)
#define QUIET_MS 20
/* As in src/lock/wait-queue.ts. */
#define LONGEST_RESERVATION_MS 1000

/* The state of a LogFile, which shares this memory: numbers, then the last known bytes. */
enum { APPLIED, END, REMEMBERED, CHANGED_US, QUIET_US, JUST_CHANGED, NUMBERS };
#define LAST_AT 64

typedef struct {
  uint64_t dev, ino;
  double serial; /* of the opening that it was asked of; NaN: of none */
} identity_t;

typedef struct {
  char *lock_path, *data_path;
  double *state;
  unsigned char *last;
  napi_ref memory;
  identity_t lock, data;
  int lock_fd, data_fd, is_held;
  unsigned char *bytes; /* what begin has read */
  size_t room, from, count;
} gate_t;

typedef struct {
  uint64_t dev, ino, size;
  double changed_us;
} found_t;

/* Without the time the kernel need not give the next write one of its own (1.6 us, Linux 6.13 and later). */
static int look_at(int fd, const char *path, int with_time, found_t *found) {
#ifdef __linux__
  struct statx s;
  unsigned mask = STATX_TYPE | STATX_MODE | STATX_INO | STATX_SIZE | (with_time ? STATX_CTIME : 0);
  if (syscall(SYS_statx, path ? AT_FDCWD : fd, path ? path : "", path ? 0 : AT_EMPTY_PATH, mask, &s)) return -1;
  found->dev = ((uint64_t)s.stx_dev_major << 32) | s.stx_dev_minor;
  found->ino = s.stx_ino;
  found->size = s.stx_size;
  found->changed_us = with_time ? (double)s.stx_ctime.tv_sec * 1e6 + s.stx_ctime.tv_nsec / 1e3 : NAN;
  if (path && (s.stx_mode & 0222) == 0) return -1;
#else
  struct stat s;
  if (path ? stat(path, &s) : fstat(fd, &s)) return -1;
  found->dev = s.st_dev;
  found->ino = s.st_ino;
  found->size = s.st_size;
#ifdef __APPLE__
  struct timespec t = s.st_ctimespec;
#else
  struct timespec t = s.st_ctim;
#endif
  found->changed_us = with_time ? (double)t.tv_sec * 1e6 + t.tv_nsec / 1e3 : NAN;
  if (path && (s.st_mode & 0222) == 0) return -1;
#endif
  return 0;
}

/* Whether the path names what is open; its size and time. A number is no identity once a file is closed: hence `serial`. */
static int is_current(identity_t *known, int fd, double serial, const char *path, int with_time, found_t *found) {
  if (known->serial != serial) {
    if (look_at(fd, NULL, 0, found)) return 0;
    known->dev = found->dev;
    known->ino = found->ino;
    known->serial = serial;
  }
  if (look_at(fd, path, with_time, found)) return 0;
  return found->dev == known->dev && found->ino == known->ino;
}

static int lock_now(int fd) {
  int got;
  do got = flock(fd, LOCK_EX | LOCK_NB);
  while (got && errno == EINTR);
  if (got == 0) return DONE;
  return errno == EWOULDBLOCK ? BUSY : ODD;
}

static void unlock(int fd) {
  while (flock(fd, LOCK_UN) && errno == EINTR) {}
}

/* The order of LogEngine#straight: first the data, then the lock. */
static void release(gate_t *gate) {
  unlock(gate->data_fd);
  unlock(gate->lock_fd);
  gate->is_held = 0;
}

/* Arbiter and WaitQueue: whether the queue file says that the lock is reserved for a certain process that waits. */
static int is_reserved(int turn_fd) {
  double head[2];
  struct timespec t;
  if (turn_fd < 0 || pread(turn_fd, head, sizeof head, 0) != sizeof head || !(head[1] > 0)) return 0;
  clock_gettime(CLOCK_MONOTONIC, &t);
  double left = head[0] - (t.tv_sec * 1e3 + t.tv_nsec / 1e6);
  return left > 0 && left <= LONGEST_RESERVATION_MS;
}

static int read_all(int fd, unsigned char *into, size_t count, off_t from) {
  size_t got = 0;
  while (got < count) {
    ssize_t n = pread(fd, into + got, count - got, from + got);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return -1;
    got += n;
  }
  return 0;
}

static unsigned char *room_for(gate_t *gate, size_t count) {
  if (!gate->bytes || gate->room < count) {
    unsigned char *more = realloc(gate->bytes, count + 65536);
    if (!more) return NULL;
    gate->bytes = more;
    gate->room = count + 65536;
  }
  return gate->bytes;
}

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

/* LogFile#looked */
static void looked(gate_t *gate, const found_t *found) {
  double us = found->changed_us;
  gate->state[CHANGED_US] = us;
  gate->state[JUST_CHANGED] = 0;
  gate->state[QUIET_US] = !isnan(us) && us / 1e3 + QUIET_MS < now_ms() ? us : NAN;
}

/* Whether there is no byte more or fewer, and yet it was changed: somebody edited it in place. */
static int is_edited(const gate_t *gate, const found_t *found) {
  double known = gate->state[CHANGED_US];
  return found->size == (uint64_t)gate->state[END] && !isnan(known) && known != found->changed_us;
}

/* isPlain of units.ts: whole units of documents, and nothing else. */
static int is_plain(const unsigned char *at, size_t count) {
  if (at[count - 1] != '\n' || memchr(at, 0, count)) return 0;
  size_t last = count - 1;
  while (last > 0 && at[last] == '\n') last--;
  if (at[last] == ' ') return 0;
  const unsigned char *end = at + count;
  for (const unsigned char *found = at; (found = memmem(found, end - found, "$$", 2)); found += 6)
    if (end - found < 6 || memcmp(found, "$$date", 6)) return 0;
  return 1;
}

/*
 * Locks both, and reads what is not in memory yet: its place in `bytes` is `from`, its length `count`. What was passed over
 * is read too, unless `passes_over`: then only what is behind END.
 */
static int enter(gate_t *gate, int lock_fd, double lock_serial, int data_fd, double data_serial, int turn_fd,
                 int passes_over) {
  found_t found;
  int got = lock_now(lock_fd);
  if (got != DONE) return got;
  if (is_reserved(turn_fd)) {
    unlock(lock_fd);
    return BUSY;
  }
  gate->lock_fd = lock_fd;
  gate->data_fd = data_fd;
  if (!is_current(&gate->lock, lock_fd, lock_serial, gate->lock_path, 0, &found) || lock_now(data_fd) != DONE) {
    unlock(lock_fd);
    return ODD;
  }
  gate->is_held = 1;
  int with_time = gate->state[JUST_CHANGED] == 0;
  uint64_t end = gate->state[END], remembered = gate->state[REMEMBERED];
  if (!is_current(&gate->data, data_fd, data_serial, gate->data_path, with_time, &found) || found.size < end ||
      is_edited(gate, &found))
    goto odd;
  uint64_t compared = end - remembered, from = passes_over ? end : (uint64_t)gate->state[APPLIED];
  uint64_t first = from < compared ? from : compared;
  size_t count = found.size - first;
  if (count > AT_ONCE_BYTES + REMEMBERED_BYTES || !room_for(gate, count)) goto odd;
  if (read_all(data_fd, gate->bytes, count, first)) goto odd;
  if (memcmp(gate->bytes + (compared - first), gate->last, remembered)) goto odd;
  gate->from = from - first;
  gate->count = found.size - from;
  if (passes_over && gate->count > 0 && !is_plain(gate->bytes + gate->from, gate->count)) goto odd;
  looked(gate, &found);
  return gate->count > 0 ? NEWS : DONE;
odd:
  release(gate);
  return ODD;
}

/* LogFile#moveEnd */
static void move_end(gate_t *gate, const unsigned char *bytes, size_t count) {
  size_t kept = gate->state[REMEMBERED];
  if (count >= REMEMBERED_BYTES) {
    memcpy(gate->last, bytes + count - REMEMBERED_BYTES, REMEMBERED_BYTES);
    kept = REMEMBERED_BYTES;
  } else {
    size_t stays = kept + count > REMEMBERED_BYTES ? REMEMBERED_BYTES - count : kept;
    memmove(gate->last, gate->last + (kept - stays), stays);
    memcpy(gate->last + stays, bytes, count);
    kept = stays + count;
  }
  gate->state[REMEMBERED] = kept;
  gate->state[END] += count;
}

/* Writes a line, a unit of its own, at the end. Where it cannot, it takes back what is in the file, and the state is as before. */
static int write_line(napi_env env, gate_t *gate, napi_value line) {
  size_t length, at = 0, done = 0;
  uint64_t end = gate->state[END];
  if (napi_get_value_string_utf8(env, line, NULL, 0, &length) != napi_ok) return ODD;
  if (!room_for(gate, length + 2 + BLOCK_BYTES)) return ODD;
  size_t used = end % BLOCK_BYTES;
  /* As encodeUnit: a unit of up to a block never crosses a multiple of it. */
  if (length + 1 <= BLOCK_BYTES && used + length + 1 > BLOCK_BYTES) {
    at = BLOCK_BYTES - used;
    memset(gate->bytes, '\n', at);
  }
  napi_get_value_string_utf8(env, line, (char *)gate->bytes + at, length + 1, &length);
  gate->bytes[at + length] = '\n';
  size_t count = at + length + 1;
  while (done < count) {
    ssize_t n = pwrite(gate->data_fd, gate->bytes + done, count - done, end + done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      /* What cannot be cut off either is a torn tail, which the next look finds. */
      if (done > 0) while (ftruncate(gate->data_fd, end) && errno == EINTR) {}
      return ODD;
    }
    done += n;
  }
  if (gate->state[APPLIED] == gate->state[END]) gate->state[APPLIED] += count;
  move_end(gate, gate->bytes, count);
  gate->state[JUST_CHANGED] = 1;
  gate->state[CHANGED_US] = NAN;
  gate->state[QUIET_US] = NAN;
  return DONE;
}

/* --- What TypeScript calls --- */

static napi_value number_of(napi_env env, int value) {
  napi_value made;
  napi_create_int32(env, value, &made);
  return made;
}

#define ARGUMENTS(most)                                        \
  size_t count = most;                                         \
  napi_value given[most];                                      \
  napi_get_cb_info(env, info, &count, given, NULL, NULL);      \
  gate_t *gate = NULL;                                         \
  napi_get_value_external(env, given[0], (void **)&gate)

static int int_of(napi_env env, napi_value value) {
  int32_t made = -1;
  napi_get_value_int32(env, value, &made);
  return made;
}

static double double_of(napi_env env, napi_value value) {
  double made = 0;
  napi_get_value_double(env, value, &made);
  return made;
}

static char *text_of(napi_env env, napi_value value) {
  size_t length;
  if (napi_get_value_string_utf8(env, value, NULL, 0, &length) != napi_ok) return NULL;
  char *made = malloc(length + 1);
  if (made) napi_get_value_string_utf8(env, value, made, length + 1, &length);
  return made;
}

static void forget(napi_env env, void *data, void *hint) {
  gate_t *gate = data;
  (void)hint;
  if (gate->memory) napi_delete_reference(env, gate->memory);
  free(gate->lock_path);
  free(gate->data_path);
  free(gate->bytes);
  free(gate);
}

/* gate(lockPath, dataPath, memory: ArrayBuffer) */
static napi_value make_gate(napi_env env, napi_callback_info info) {
  size_t count = 3, bytes;
  napi_value given[3], made;
  void *memory;
  napi_get_cb_info(env, info, &count, given, NULL, NULL);
  gate_t *gate = calloc(1, sizeof *gate);
  if (!gate) return NULL;
  gate->lock_path = text_of(env, given[0]);
  gate->data_path = text_of(env, given[1]);
  if (!gate->lock_path || !gate->data_path ||
      napi_get_arraybuffer_info(env, given[2], &memory, &bytes) != napi_ok || bytes < LAST_AT + REMEMBERED_BYTES ||
      napi_create_reference(env, given[2], 1, &gate->memory) != napi_ok ||
      napi_create_external(env, gate, forget, NULL, &made) != napi_ok) {
    forget(env, gate, NULL);
    napi_throw_type_error(env, NULL, "gate(lockPath, dataPath, memory)");
    return NULL;
  }
  gate->state = memory;
  gate->last = (unsigned char *)memory + LAST_AT;
  gate->lock.serial = gate->data.serial = NAN;
  return made;
}

/* append(gate, lockFd, lockSerial, dataFd, dataSerial, turnFd, line): the whole of it. Passes over what is new. */
static napi_value append(napi_env env, napi_callback_info info) {
  ARGUMENTS(7);
  if (!gate) return number_of(env, ODD);
  int got = enter(gate, int_of(env, given[1]), double_of(env, given[2]), int_of(env, given[3]),
                  double_of(env, given[4]), int_of(env, given[5]), 1);
  if (got < 0) return number_of(env, got);
  if (got == NEWS) move_end(gate, gate->bytes + gate->from, gate->count);
  got = write_line(env, gate, given[6]);
  release(gate);
  return number_of(env, got);
}

/* begin(gate, lockFd, lockSerial, dataFd, dataSerial, turnFd): DONE and NEWS hold both locks until `commit` or `release`. */
static napi_value begin(napi_env env, napi_callback_info info) {
  ARGUMENTS(6);
  if (!gate) return number_of(env, ODD);
  return number_of(env, enter(gate, int_of(env, given[1]), double_of(env, given[2]), int_of(env, given[3]),
                              double_of(env, given[4]), int_of(env, given[5]), 0));
}

/* news(gate): a copy of what `begin` has found. */
static napi_value news(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  napi_value made = NULL;
  if (gate) napi_create_buffer_copy(env, gate->count, gate->bytes + gate->from, NULL, &made);
  return made;
}

/* commit(gate, line): writes it and releases. ODD: it is not in the file, and nothing is released. */
static napi_value commit(napi_env env, napi_callback_info info) {
  ARGUMENTS(2);
  if (!gate || !gate->is_held) return number_of(env, ODD);
  int got = write_line(env, gate, given[1]);
  if (got == DONE) release(gate);
  return number_of(env, got);
}

static napi_value give_back(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  if (gate && gate->is_held) release(gate);
  return NULL;
}

/* look(gate, dataFd, dataSerial): DONE where nothing has changed since a look that tells of every later change. */
static napi_value look(napi_env env, napi_callback_info info) {
  ARGUMENTS(3);
  found_t found;
  if (!gate || !is_current(&gate->data, int_of(env, given[1]), double_of(env, given[2]), gate->data_path, 1, &found))
    return number_of(env, ODD);
  const double *state = gate->state;
  return number_of(env, state[APPLIED] == state[END] && found.size == (uint64_t)state[END] &&
                                found.changed_us == state[QUIET_US]
                            ? DONE
                            : ODD);
}

/* flock(fd, operation): 0, or the errno. */
static napi_value call_flock(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value given[2];
  napi_get_cb_info(env, info, &count, given, NULL, NULL);
  return number_of(env, flock(int_of(env, given[0]), int_of(env, given[1])) ? errno : 0);
}

NAPI_MODULE_INIT() {
  static const struct {
    const char *name;
    napi_callback call;
  } exported[] = {{"gate", make_gate}, {"append", append},       {"begin", begin}, {"news", news},
                  {"commit", commit},  {"release", give_back},   {"look", look},   {"flock", call_flock}};
  for (size_t i = 0; i < sizeof exported / sizeof *exported; i++) {
    napi_value made;
    if (napi_create_function(env, exported[i].name, NAPI_AUTO_LENGTH, exported[i].call, NULL, &made) != napi_ok ||
        napi_set_named_property(env, exports, exported[i].name, made) != napi_ok)
      return NULL;
  }
  return exports;
}
