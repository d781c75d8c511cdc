#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ends.h"

uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void die(const char *what) {
  fprintf(stderr, "ends: %s: %s\n", what, strerror(errno));
  exit(1);
}

int main(int argc, char **argv) {
  signal(SIGPIPE, SIG_IGN);
  if (argc > 1 && strcmp(argv[1], "backend") == 0) return backend_main(argc - 1, argv + 1);
  if (argc > 1 && strcmp(argv[1], "load") == 0) return load_main(argc - 1, argv + 1);
  fprintf(stderr, "usage: ends backend <plain port> <TLS port> <certificate> <key>\n"
                  "       ends load <port> <name | @file> canned|tls|resumed <at once> <connections> "
                  "<requests on each> <answer bytes> [hold]\n");
  return 2;
}
