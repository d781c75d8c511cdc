// One relay thread: an event loop and the connections in it. A connection stays with the thread that accepted it.
#ifndef DSTACK_PROXY_WORKER_H
#define DSTACK_PROXY_WORKER_H

#include <pthread.h>

#include "bytes.h"
#include "listener.h"
#include "loop.h"
#include "mailbox.h"
#include "pipes.h"
#include "pool.h"
#include "protocol.h"
#include "table.h"

// The largest single read, and what a stalled reader can make us hold.
#define SCRATCH_BYTES (128u << 10)

struct connection;
struct engine;

struct worker {
  struct engine *engine;
  size_t index;
  pthread_t thread;  // but for the first, which is the thread of the engine itself
  struct loop loop;
  struct mailbox mailbox;
  struct listener listeners[MAX_LISTENERS];
  size_t listener_count;
  struct table lookups;
  uint64_t last_lookup;
  struct pipes pipes;
  struct pool openings;
  struct connection *connections;
  struct buffer reports;  // of connections that are over, not told yet
  struct timer report_timer;
  uint64_t reported_us;
  uint8_t *scratch;       // SCRATCH_BYTES, for the moment of one read
  struct buffer records;  // what TLS writes during one call, to be sent at once
};

// NULL: no memory, or no descriptors.
struct worker *worker_make(struct engine *engine, size_t index);
void worker_free(struct worker *worker);
// Once the limits are known. False: no memory.
bool worker_reserve(struct worker *worker);
// A turn of its loop, and what is to be told after it.
void worker_turn(struct worker *worker);
// Runs a second or later worker in a thread of its own, with listeners like those of `first`. Gives 0 or an errno.
int worker_start(struct worker *worker, const struct worker *first);
// Does what a command says that is for every worker. In the worker's own thread.
void worker_command(struct worker *worker, enum command command, struct cursor fields);

#endif
