#include "worker.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "connection.h"
#include "engine.h"
#include "tls.h"

// Every connection has a deadline, and a head start while it dials; the rest is listeners and reports.
#define TIMERS_PER_CONNECTION 2
#define OTHER_TIMERS (MAX_LISTENERS + 8)
// Reports that wait for the end of their interval, with room for one more.
#define MAX_REPORTS_BYTES (128u << 10)

// --- commands ---

static void tell_done(struct worker *worker, uint64_t number) {
  buffer_put_uint(control_begin(&worker->engine->control, EVENT_DONE), number, 8);
  control_end(&worker->engine->control);
}

static void set_accepting(struct worker *worker, struct cursor fields) {
  uint64_t number = cursor_uint(&fields, 8);
  bool accepting = cursor_uint(&fields, 1) != 0;
  for (size_t i = 0; i < worker->listener_count; i++) {
    if (accepting) listener_start(&worker->listeners[i]);
    else listener_stop(&worker->listeners[i]);
  }
  tell_done(worker, number);
}

static void end_some(struct worker *worker, struct cursor fields) {
  uint64_t number = cursor_uint(&fields, 8);
  bool of_instance = cursor_uint(&fields, 1) != 0;
  const uint8_t *instance = cursor_take(&fields, ID_BYTES);
  if (instance == NULL) return;
  struct connection *next;
  for (struct connection *connection = worker->connections; connection != NULL; connection = next) {
    next = connection->next;
    const struct count *its = connection->instance_count;
    bool is_its = its != NULL && memcmp(its->node.key, instance, ID_BYTES) == 0;
    // By a reset: what waits for the app must not be sent once its address is somebody else's.
    if (is_its || !of_instance) connection_end(connection, OUTCOME_DRAINED, connection->app != NULL);
  }
  tell_done(worker, number);
}

static void list(struct worker *worker, struct cursor fields) {
  uint64_t number = cursor_uint(&fields, 8);
  report_open(worker, number, (size_t)cursor_uint(&fields, 4));
}

static void found(struct worker *worker, struct cursor fields) {
  uint64_t number = cursor_uint(&fields, 8);
  bool is_found = cursor_uint(&fields, 1) != 0;
  const uint8_t *id = cursor_take(&fields, ID_BYTES);
  uint16_t port = (uint16_t)cursor_uint(&fields, 2);
  if (!fields.failed) lookup_found(worker, number, is_found, id, port);
}

static void stop(struct worker *worker) {
  while (worker->listener_count > 0) listener_close(&worker->listeners[--worker->listener_count]);
  while (worker->connections != NULL) connection_end(worker->connections, OUTCOME_SHUTDOWN, false);
  report_now(worker);
  worker->loop.stopped = true;
}

void worker_command(struct worker *worker, enum command command, struct cursor fields) {
  switch (command) {
    case COMMAND_FOUND:
      return found(worker, fields);
    case COMMAND_STOP:
      return stop(worker);
    case COMMAND_LIST:
      return list(worker, fields);
    case COMMAND_ACCEPTING:
      return set_accepting(worker, fields);
    case COMMAND_END:
      return end_some(worker, fields);
    case COMMAND_START:
    case COMMAND_ROUTES:
    case COMMAND_CERTIFICATES:
      return;  // the engine's
  }
}

static void take_letter(struct mailbox *mailbox, enum command command, struct cursor fields) {
  worker_command((struct worker *)((char *)mailbox - offsetof(struct worker, mailbox)), command, fields);
}

// --- life ---

static void report_due(struct timer *timer) {
  report_now((struct worker *)((char *)timer - offsetof(struct worker, report_timer)));
}

struct worker *worker_make(struct engine *engine, size_t index) {
  struct worker *worker = calloc(1, sizeof *worker);
  if (worker == NULL) return NULL;
  worker->engine = engine;
  worker->index = index;
  worker->openings = pool_of(sizeof(struct opening));
  worker->report_timer.fire = report_due;
  worker->reports.most = MAX_REPORTS_BYTES;
  worker->loop.epoll_fd = worker->mailbox.watch.fd = -1;
  worker->scratch = malloc(SCRATCH_BYTES);
  tls_prepare(worker);
  if (worker->scratch != NULL && loop_init(&worker->loop) && table_init(&worker->lookups) &&
      mailbox_init(&worker->mailbox, &worker->loop, take_letter)) {
    return worker;
  }
  worker_free(worker);
  return NULL;
}

void worker_free(struct worker *worker) {
  mailbox_free(&worker->mailbox);
  buffer_free(&worker->reports);
  buffer_free(&worker->records);
  table_free(&worker->lookups);
  pipes_free(&worker->pipes);
  pool_free(&worker->openings);
  loop_free(&worker->loop);
  free(worker->scratch);
  free(worker);
}

bool worker_reserve(struct worker *worker) {
  size_t connections = worker->engine->limits.connections;
  return loop_reserve_timers(&worker->loop, connections * TIMERS_PER_CONNECTION + OTHER_TIMERS);
}

void worker_turn(struct worker *worker) {
  loop_turn(&worker->loop);
  report_soon(worker);
  control_flush(&worker->engine->control);
}

static void *run(void *argument) {
  struct worker *worker = argument;
  while (!worker->loop.stopped) worker_turn(worker);
  return NULL;
}

int worker_start(struct worker *worker, const struct worker *first) {
  for (size_t i = 0; i < first->listener_count; i++) {
    int error = listener_share(&worker->listeners[i], worker, &first->listeners[i]);
    if (error != 0) return error;
    worker->listener_count++;
  }
  return pthread_create(&worker->thread, NULL, run, worker);
}
