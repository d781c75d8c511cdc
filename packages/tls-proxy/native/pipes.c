#include "pipes.h"

#include <fcntl.h>
#include <unistd.h>

#define WANTED_BYTES (1 << 20)
#define LEAST_BYTES (128 << 10)

static void close_pair(struct pipe_pair *pair) {
  if (pair->in >= 0) close(pair->in);
  if (pair->out >= 0) close(pair->out);
  *pair = (struct pipe_pair){.in = -1, .out = -1};
}

bool pipes_borrow(struct pipes *pipes, struct pipe_pair *pair) {
  if (pipes->spare_count > 0) {
    *pair = pipes->spare[--pipes->spare_count];
    return true;
  }
  int ends[2];
  if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) < 0) return false;
  *pair = (struct pipe_pair){.in = ends[1], .out = ends[0]};
  // Users without privilege may have few large pipes; past that the kernel refuses to grow one.
  int size = fcntl(pair->in, F_SETPIPE_SZ, WANTED_BYTES);
  if (size < LEAST_BYTES) {
    close_pair(pair);
    return false;
  }
  pair->size = (size_t)size;
  return true;
}

void pipes_return(struct pipes *pipes, struct pipe_pair *pair) {
  if (pair->in >= 0 && pair->bytes == 0 && pipes->spare_count < MAX_SPARE_PIPES) {
    pipes->spare[pipes->spare_count++] = *pair;
    *pair = (struct pipe_pair){.in = -1, .out = -1};
  } else {
    close_pair(pair);
  }
}

void pipes_free(struct pipes *pipes) {
  while (pipes->spare_count > 0) close_pair(&pipes->spare[--pipes->spare_count]);
}
