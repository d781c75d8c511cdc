#include "engine.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "connection.h"
#include "process.h"
#include "tls.h"

// Descriptors of ours, of Node around us, and some for pipes.
#define OTHER_DESCRIPTORS 64
// How long the last reports may take to leave when we stop.
#define LAST_WORDS_MS 1000

static struct engine *engine_of(struct control *control) {
  return (struct engine *)((char *)control - offsetof(struct engine, control));
}

// --- commands ---

static bool tell_started(struct engine *engine) {
  struct buffer *out = control_begin(&engine->control, EVENT_STARTED);
  const struct worker *first = engine->workers[0];
  for (size_t i = 0; i < first->listener_count; i++) buffer_put_uint(out, first->listeners[i].port, 2);
  return control_end(&engine->control);
}

static bool tell_failed(struct engine *engine, int error, size_t listener) {
  struct buffer *out = control_begin(&engine->control, EVENT_FAILED);
  buffer_put_uint(out, (uint64_t)error, 4);
  buffer_put_uint(out, listener, 1);
  engine->workers[0]->loop.stopped = true;
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
  return counts_init(&engine->sources, engine->limits.connections_per_source, false) &&
         counts_init(&engine->apps, engine->limits.connections_per_app, true) &&
         counts_init(&engine->instances, UINT32_MAX, true);
}

// To every thread, ourselves at once.
static bool tell_all(struct engine *engine, enum command command, struct cursor fields) {
  bool good = true;
  for (size_t i = 1; i < engine->worker_count; i++) {
    good = mailbox_post(&engine->workers[i]->mailbox, command, fields) && good;
  }
  worker_command(engine->workers[0], command, fields);
  return good;
}

static bool set_accepting(struct engine *engine, struct cursor fields) {
  struct worker *first = engine->workers[0];
  struct cursor copy = fields;
  cursor_uint(&copy, 8);
  bool accepting = cursor_uint(&copy, 1) != 0;
  if (copy.failed) return false;
  for (size_t i = 0; i < first->listener_count && accepting; i++) {
    int error = listener_listen(&first->listeners[i]);
    if (error != 0) return tell_failed(engine, error, i);
  }
  for (size_t i = 0; i < first->listener_count && !accepting; i++) {
    // Not twice: a socket that does not listen would remember it, and give it to those it accepts later.
    if (!first->listeners[i].is_accepting) continue;
    listener_stop(&first->listeners[i]);
    listener_unlisten(&first->listeners[i]);
  }
  // Last: when all threads have said that it is done, it is.
  return tell_all(engine, COMMAND_ACCEPTING, fields);
}

// Binds all listeners: none accepts before all are there. Gives 0 or an errno, and at which it stopped.
static int open_listeners(struct worker *worker, struct cursor *fields, size_t *at) {
  size_t count = (size_t)cursor_uint(fields, 1);
  if (count == 0 || count > MAX_LISTENERS) fields->failed = true;
  for (*at = 0; *at < count && !fields->failed; ++*at) {
    struct sockaddr_storage address;
    struct listener *listener = &worker->listeners[*at];
    if (!read_address(fields, &address)) fields->failed = true;
    int error = fields->failed ? EINVAL : listener_open(listener, worker, &address);
    if (error != 0) return error;
    worker->listener_count++;
    listener->passthrough_only = cursor_uint(fields, 1) != 0;
    if (!read_balancers(listener, fields)) fields->failed = true;
  }
  return 0;
}

static int start_threads(struct engine *engine, size_t count) {
  if (!worker_reserve(engine->workers[0])) return ENOMEM;
  while (engine->worker_count < count) {
    struct worker *worker = worker_make(engine, engine->worker_count);
    int error = worker == NULL || !worker_reserve(worker) ? ENOMEM : worker_start(worker, engine->workers[0]);
    if (error != 0) {
      if (worker != NULL) worker_free(worker);
      return error;
    }
    engine->workers[engine->worker_count++] = worker;
  }
  return 0;
}

static bool start(struct engine *engine, struct cursor fields) {
  static const uint8_t accept_from_now_on[] = {0, 0, 0, 0, 0, 0, 0, 0, 1};
  if (engine->workers[0]->listener_count > 0 || !limits_read(&engine->limits, &fields)) return false;
  size_t threads = (size_t)cursor_uint(&fields, 1), at;
  bool accepting = cursor_uint(&fields, 1) != 0;
  if (threads == 0 || threads > MAX_THREADS || !make_shared_parts(engine)) return false;
  int error = open_listeners(engine->workers[0], &fields, &at);
  if (fields.failed) return false;
  if (error != 0) return tell_failed(engine, error, at);
  // First: threads have the rights of the one that starts them.
  if (!process_confine()) return tell_failed(engine, EPERM, 0);
  error = start_threads(engine, threads);
  if (error != 0) return tell_failed(engine, error, 0);
  if (accepting && !set_accepting(engine, cursor_over(accept_from_now_on, sizeof accept_from_now_on))) return false;
  return engine->workers[0]->loop.stopped || tell_started(engine);
}

static bool set_certificates(struct engine *engine, struct cursor fields) {
  struct certificates *read = certificates_read(&fields);
  if (fields.failed) return false;
  if (read != NULL) {
    tls_set_certificates(engine, read);
    return true;
  }
  control_begin(&engine->control, EVENT_REFUSED_CERTIFICATES);
  return control_end(&engine->control);
}

// To the thread that has asked.
static bool pass_answer(struct engine *engine, struct cursor fields) {
  struct cursor copy = fields;
  size_t index = (size_t)(cursor_uint(&copy, 8) % MAX_THREADS);
  if (copy.failed || index >= engine->worker_count) return false;
  if (index > 0) return mailbox_post(&engine->workers[index]->mailbox, COMMAND_FOUND, fields);
  worker_command(engine->workers[0], COMMAND_FOUND, fields);
  return true;
}

static bool on_command(struct control *control, enum command command, struct cursor fields) {
  struct engine *engine = engine_of(control);
  switch (command) {
    case COMMAND_START:
      return start(engine, fields);
    case COMMAND_ROUTES:
      return routes_update(&engine->routes, fields);
    case COMMAND_CERTIFICATES:
      return set_certificates(engine, fields);
    case COMMAND_FOUND:
      return pass_answer(engine, fields);
    case COMMAND_ACCEPTING:
      return set_accepting(engine, fields);
    case COMMAND_LIST:
    case COMMAND_END:
    case COMMAND_STOP:
      return tell_all(engine, command, fields);
  }
  return false;
}

// --- life ---

static bool init(struct engine *engine, int control_fd) {
  pthread_mutex_init(&engine->tls_lock, NULL);
  engine->workers[0] = worker_make(engine, 0);
  engine->worker_count = engine->workers[0] == NULL ? 0 : 1;
  return engine->worker_count == 1 && routes_init(&engine->routes) && tls_init(engine) &&
         control_init(&engine->control, &engine->workers[0]->loop, control_fd, on_command);
}

static void say_last_words(struct engine *engine) {
  uint64_t end = monotonic_us() + LAST_WORDS_MS * 1000;
  control_flush(&engine->control);
  while (engine->control.out.length > 0 && !engine->control.broken && monotonic_us() < end) {
    struct pollfd socket = {.fd = engine->control.watch.fd, .events = POLLOUT};
    poll(&socket, 1, LAST_WORDS_MS);
    control_flush(&engine->control);
  }
}

// Ends what is open. Another thread that cannot even be told is left to the end of the process.
static bool stop_threads(struct engine *engine) {
  bool good = tell_all(engine, COMMAND_STOP, cursor_over(NULL, 0));
  for (size_t i = 1; i < engine->worker_count && good; i++) pthread_join(engine->workers[i]->thread, NULL);
  return good;
}

static void release(struct engine *engine) {
  control_free(&engine->control);
  counts_free(&engine->sources);
  counts_free(&engine->apps);
  counts_free(&engine->instances);
  routes_free(&engine->routes);
  while (engine->worker_count > 0) worker_free(engine->workers[--engine->worker_count]);
  tls_free(engine);
  free(engine);
}

int engine_run(int control_fd) {
  size_t descriptors = process_prepare();
  struct engine *engine = calloc(1, sizeof *engine);
  if (engine == NULL || !init(engine, control_fd)) return 1;  // the process ends, and its memory with it
  engine->most_sockets = descriptors > OTHER_DESCRIPTORS ? (descriptors - OTHER_DESCRIPTORS) / 2 : 1;
  struct worker *first = engine->workers[0];
  while (!first->loop.stopped && !engine->control.broken) worker_turn(first);
  bool stopped = stop_threads(engine);
  say_last_words(engine);
  bool failed = engine->control.broken || !stopped;
  if (stopped) release(engine);
  return failed ? 1 : 0;
}
