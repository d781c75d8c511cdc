#include "engine.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "connection.h"
#include "process.h"
#include "tls.h"

// Every connection has a deadline, and a head start while it dials; the rest is listeners and counts.
#define TIMERS_PER_CONNECTION 2
#define OTHER_TIMERS (MAX_LISTENERS + 8)
// Descriptors of ours, of Node around us, and some for pipes.
#define OTHER_DESCRIPTORS 64
// How long the last reports may take to leave when we stop.
#define LAST_WORDS_MS 1000
// Reports are told long before there are so many.
#define MAX_REPORTS_BYTES (128u << 10)

static struct engine *engine_of(struct control *control) {
  return (struct engine *)((char *)control - offsetof(struct engine, control));
}

static void report_due(struct timer *timer) {
  report_now((struct engine *)((char *)timer - offsetof(struct engine, report_timer)));
}

// --- commands ---

static bool tell_started(struct engine *engine) {
  struct buffer *out = control_begin(&engine->control, EVENT_STARTED);
  for (size_t i = 0; i < engine->listener_count; i++) buffer_put_uint(out, engine->listeners[i].port, 2);
  return control_end(&engine->control);
}

static bool tell_failed(struct engine *engine, int error, size_t listener) {
  struct buffer *out = control_begin(&engine->control, EVENT_FAILED);
  buffer_put_uint(out, (uint64_t)error, 4);
  buffer_put_uint(out, listener, 1);
  engine->loop.stopped = true;
  return control_end(&engine->control);
}

static bool read_address(struct cursor *fields, struct sockaddr_storage *address) {
  uint64_t family = cursor_uint(fields, 1);
  const uint8_t *bytes = cursor_take(fields, 16);
  uint16_t port = htons((uint16_t)cursor_uint(fields, 2));
  if (fields->failed || (family != 4 && family != 6)) return false;
  *address = (struct sockaddr_storage){.ss_family = family == 6 ? AF_INET6 : AF_INET};
  if (family == 6) {
    struct sockaddr_in6 *ipv6 = (struct sockaddr_in6 *)address;
    memcpy(&ipv6->sin6_addr, bytes, sizeof ipv6->sin6_addr);
    ipv6->sin6_port = port;
  } else {
    struct sockaddr_in *ipv4 = (struct sockaddr_in *)address;
    memcpy(&ipv4->sin_addr, bytes, sizeof ipv4->sin_addr);
    ipv4->sin_port = port;
  }
  return true;
}

static bool read_balancers(struct listener *listener, struct cursor *fields) {
  size_t count = (size_t)cursor_uint(fields, 1);
  if (count > MAX_PREFIXES) return false;
  for (size_t i = 0; i < count; i++) {
    const uint8_t *bytes = cursor_take(fields, sizeof listener->balancers[i].address);
    listener->balancers[i].bits = (uint8_t)cursor_uint(fields, 1);
    if (fields->failed) return false;
    memcpy(&listener->balancers[i].address, bytes, sizeof listener->balancers[i].address);
  }
  listener->balancer_count = count;
  return true;
}

static bool make_shared_parts(struct engine *engine) {
  size_t timers = (size_t)engine->limits.connections * TIMERS_PER_CONNECTION + OTHER_TIMERS;
  return loop_reserve_timers(&engine->loop, timers) &&
         counts_init(&engine->sources, engine->limits.connections_per_source, false) &&
         counts_init(&engine->apps, engine->limits.connections_per_app, true) &&
         counts_init(&engine->instances, UINT32_MAX, true);
}

static bool set_accepting(struct engine *engine, bool accepting) {
  for (size_t i = 0; i < engine->listener_count; i++) {
    struct listener *listener = &engine->listeners[i];
    int error = 0;
    if (accepting) error = listener_start(listener);
    else listener_stop(listener);
    if (error != 0) return tell_failed(engine, error, i);
  }
  return true;
}

// All listeners are bound before any accepts: there is no half of a start.
static bool start(struct engine *engine, struct cursor fields) {
  if (engine->listener_count > 0 || !limits_read(&engine->limits, &fields)) return false;
  bool accepting = cursor_uint(&fields, 1) != 0;
  size_t count = (size_t)cursor_uint(&fields, 1);
  if (count == 0 || count > MAX_LISTENERS || !make_shared_parts(engine)) return false;
  for (size_t i = 0; i < count; i++) {
    struct sockaddr_storage address;
    if (!read_address(&fields, &address)) return false;
    struct listener *listener = &engine->listeners[i];
    int error = listener_open(listener, engine, &address);
    if (error != 0) return tell_failed(engine, error, i);
    engine->listener_count++;
    listener->passthrough_only = cursor_uint(&fields, 1) != 0;
    if (!read_balancers(listener, &fields)) return false;
  }
  if (accepting && !set_accepting(engine, true)) return false;
  if (engine->loop.stopped) return true;
  if (!process_confine()) return tell_failed(engine, EPERM, 0);
  return !fields.failed && tell_started(engine);
}

static bool set_certificate(struct engine *engine, struct cursor fields) {
  struct cursor chain = cursor_vector(&fields, 4), key = cursor_vector(&fields, 4);
  if (fields.failed) return false;
  if (tls_set_certificate(engine, chain, key)) return true;
  control_begin(&engine->control, EVENT_REFUSED_CERTIFICATE);
  control_end(&engine->control);
  return true;
}

static bool found(struct engine *engine, struct cursor fields) {
  uint64_t number = cursor_uint(&fields, 8);
  bool is_found = cursor_uint(&fields, 1) != 0;
  const uint8_t *id = cursor_take(&fields, ID_BYTES);
  uint16_t port = (uint16_t)cursor_uint(&fields, 2);
  if (fields.failed) return false;
  lookup_found(engine, number, is_found, id, port);
  return true;
}

// After everything that has happened by then.
static bool tell_done(struct engine *engine, uint64_t number) {
  report_now(engine);
  buffer_put_uint(control_begin(&engine->control, EVENT_DONE), number, 8);
  return control_end(&engine->control);
}

static bool list(struct engine *engine, struct cursor fields) {
  uint64_t number = cursor_uint(&fields, 8);
  size_t most = (size_t)cursor_uint(&fields, 4);
  if (fields.failed) return false;
  report_open(engine, number, most);
  return true;
}

static bool change_accepting(struct engine *engine, struct cursor fields) {
  uint64_t number = cursor_uint(&fields, 8);
  bool accepting = cursor_uint(&fields, 1) != 0;
  return !fields.failed && set_accepting(engine, accepting) && tell_done(engine, number);
}

static bool end_some(struct engine *engine, struct cursor fields) {
  uint64_t number = cursor_uint(&fields, 8);
  bool of_instance = cursor_uint(&fields, 1) != 0;
  const uint8_t *instance = cursor_take(&fields, ID_BYTES);
  if (fields.failed) return false;
  struct connection *next;
  for (struct connection *connection = engine->connections; connection != NULL; connection = next) {
    next = connection->next;
    bool is_its = connection->is_connected && memcmp(connection->backends[0].instance, instance, ID_BYTES) == 0;
    if (is_its || !of_instance) connection_end(connection, OUTCOME_DRAINED, false);
  }
  return tell_done(engine, number);
}

static void stop(struct engine *engine) {
  while (engine->listener_count > 0) listener_close(&engine->listeners[--engine->listener_count]);
  while (engine->connections != NULL) connection_end(engine->connections, OUTCOME_SHUTDOWN, false);
  engine->loop.stopped = true;
}

static bool on_command(struct control *control, enum command command, struct cursor fields) {
  struct engine *engine = engine_of(control);
  switch (command) {
    case COMMAND_START:
      return start(engine, fields);
    case COMMAND_ROUTES:
      return routes_update(&engine->routes, fields);
    case COMMAND_CERTIFICATE:
      return set_certificate(engine, fields);
    case COMMAND_FOUND:
      return found(engine, fields);
    case COMMAND_STOP:
      stop(engine);
      return true;
    case COMMAND_LIST:
      return list(engine, fields);
    case COMMAND_ACCEPTING:
      return change_accepting(engine, fields);
    case COMMAND_END:
      return end_some(engine, fields);
  }
  return false;
}

// --- life ---

static bool init(struct engine *engine, int control_fd) {
  engine->report_timer.fire = report_due;
  engine->reports.most = MAX_REPORTS_BYTES;
  engine->scratch = malloc(SCRATCH_BYTES);
  return engine->scratch != NULL && loop_init(&engine->loop) && routes_init(&engine->routes) &&
         table_init(&engine->lookups) && tls_init(engine) &&
         control_init(&engine->control, &engine->loop, control_fd, on_command);
}

static void say_last_words(struct engine *engine) {
  uint64_t end = monotonic_us() + LAST_WORDS_MS * 1000;
  report_now(engine);
  control_flush(&engine->control);
  while (engine->control.out.length > 0 && !engine->control.broken && monotonic_us() < end) {
    struct pollfd socket = {.fd = engine->control.watch.fd, .events = POLLOUT};
    poll(&socket, 1, LAST_WORDS_MS);
    control_flush(&engine->control);
  }
}

static void release(struct engine *engine) {
  stop(engine);
  control_free(&engine->control);
  buffer_free(&engine->reports);
  counts_free(&engine->sources);
  counts_free(&engine->apps);
  counts_free(&engine->instances);
  table_free(&engine->lookups);
  routes_free(&engine->routes);
  pipes_free(&engine->pipes);
  loop_free(&engine->loop);
  tls_free(engine);
  free(engine->scratch);
  free(engine);
}

int engine_run(int control_fd) {
  size_t descriptors = process_prepare();
  struct engine *engine = calloc(1, sizeof *engine);
  if (engine == NULL || !init(engine, control_fd)) return 1;  // the process ends, and its memory with it
  engine->most_sockets = descriptors > OTHER_DESCRIPTORS ? (descriptors - OTHER_DESCRIPTORS) / 2 : 1;
  while (!engine->loop.stopped) {
    loop_turn(&engine->loop);
    report_soon(engine);
    control_flush(&engine->control);
  }
  say_last_words(engine);
  bool failed = engine->control.broken;
  release(engine);
  return failed ? 1 : 0;
}
