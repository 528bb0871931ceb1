/* What a lock must cost at least: flock, stat of the path, unlock. Prints nanoseconds a round. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  const int rounds = atoi(argv[2]);
  const int fd = open(argv[1], O_RDWR | O_CREAT, 0666);
  struct timespec start, end;
  struct stat found;
  if (fd < 0) return 1;
  clock_gettime(CLOCK_MONOTONIC, &start);
  for (int i = 0; i < rounds; i++) {
    if (flock(fd, LOCK_EX | LOCK_NB) || stat(argv[1], &found) || flock(fd, LOCK_UN)) return 1;
  }
  clock_gettime(CLOCK_MONOTONIC, &end);
  printf("%f\n", ((end.tv_sec - start.tv_sec) * 1e9 + (end.tv_nsec - start.tv_nsec)) / rounds);
  return 0;
}
