#include "pipes.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define WANTED_BYTES (1 << 20)
#define LEAST_BYTES (128 << 10)

static void close_pair(struct pipe_pair *pair) {
  close(pair->in);
  close(pair->out);
  free(pair);
}

static struct pipe_pair *make_pair(void) {
  int ends[2];
  struct pipe_pair *pair = malloc(sizeof *pair);
  if (pair == NULL || pipe2(ends, O_NONBLOCK | O_CLOEXEC) < 0) {
    free(pair);
    return NULL;
  }
  // Users without privilege may have few large pipes; past that the kernel refuses to grow one.
  int size = fcntl(ends[1], F_SETPIPE_SZ, WANTED_BYTES);
  *pair = (struct pipe_pair){.in = ends[1], .out = ends[0], .size = size < 0 ? 0 : (size_t)size};
  if (pair->size >= LEAST_BYTES) return pair;
  close_pair(pair);
  return NULL;
}

struct pipe_pair *pipes_borrow(struct pipes *pipes) {
  return pipes->spare_count > 0 ? pipes->spare[--pipes->spare_count] : make_pair();
}

void pipes_return(struct pipes *pipes, struct pipe_pair *pair) {
  if (pair == NULL) return;
  if (pair->bytes == 0 && pipes->spare_count < MAX_SPARE_PIPES) {
    pipes->spare[pipes->spare_count++] = pair;
  } else {
    close_pair(pair);
  }
}

void pipes_free(struct pipes *pipes) {
  while (pipes->spare_count > 0) close_pair(pipes->spare[--pipes->spare_count]);
}
