// Pipes that splice() moves bulk data through, kept for the next flow once they are empty.
#ifndef DSTACK_PROXY_PIPES_H
#define DSTACK_PROXY_PIPES_H

#include <stdbool.h>
#include <stddef.h>

#define MAX_SPARE_PIPES 64

struct pipe_pair {
  int in, out;
  size_t size;   // what it can hold
  size_t bytes;  // what it holds
};

struct pipes {
  struct pipe_pair *spare[MAX_SPARE_PIPES];
  size_t spare_count;
};

// NULL: no descriptors, no memory, or only a pipe so small that copying is better.
struct pipe_pair *pipes_borrow(struct pipes *pipes);
// Keeps it if it is empty and there is room, else closes it. NULL is none.
void pipes_return(struct pipes *pipes, struct pipe_pair *pair);
void pipes_free(struct pipes *pipes);

#endif
