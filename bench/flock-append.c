/*
 * Appends 100 bytes under flock(2), again and again, from one moment of CLOCK_MONOTONIC on: what a lock and a write must
 * cost at least. Writes doubles to stdout: operations until half time, until the end, and the milliseconds of each.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#define BYTES 100

static double now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

int main(int argc, char **argv) {
  if (argc < 4) return 2;
  const double start = atof(argv[2]), length = atof(argv[3]);
  const int fd = open(argv[1], O_WRONLY | O_APPEND);
  size_t room = 1 << 16, count = 0;
  double *waits = malloc(room * sizeof *waits);
  double counts[2] = {0, 0};
  char line[BYTES];
  if (fd < 0 || !waits) return 1;
  memset(line, 'x', BYTES - 1);
  line[BYTES - 1] = '\n';
  while (now_ms() < start) usleep(200);
  for (double asked = now_ms(); asked < start + length;) {
    if (flock(fd, LOCK_EX) || write(fd, line, BYTES) != BYTES || flock(fd, LOCK_UN)) return 1;
    const double now = now_ms();
    if (count == room && !(waits = realloc(waits, (room *= 2) * sizeof *waits))) return 1;
    waits[count++] = now - asked;
    if (now <= start + length / 2) counts[0]++;
    if (now <= start + length) counts[1]++;
    asked = now;
  }
  return fwrite(counts, sizeof *counts, 2, stdout) != 2 || fwrite(waits, sizeof *waits, count, stdout) != count;
}
