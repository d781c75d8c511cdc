#include "connection.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "tls.h"

static void deadline_passed(struct timer *timer);
static void run_again(struct task *task);

// --- beginning ---

static void turn_away(struct worker *worker, int fd, const struct source *source, enum outcome outcome) {
  const struct linger at_once = {.l_onoff = 1, .l_linger = 0};
  // Costs as little as possible: whoever is over a limit may come back at once, many times a second.
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  struct watch watch = {.fd = fd};
  watch_close(&watch);
  worker->engine->sockets--;
  report_turned_away(worker, source, outcome);
}

static struct connection *make_connection(struct worker *worker, const struct source *source) {
  struct connection *made = calloc(1, sizeof *made);
  if (made == NULL) return NULL;
  made->worker = worker;
  made->id = ++worker->engine->last_connection;
  made->source = *source;
  made->deadline.fire = deadline_passed;
  made->again.run = run_again;
  made->accepted_us = worker->loop.now_us;
  made->next = worker->connections;
  made->previous = &worker->connections;
  if (made->next != NULL) made->next->previous = &made->next;
  worker->connections = made;
  worker->engine->open++;
  worker->engine->open_changed = true;
  return made;
}

static struct count *enter_source(struct worker *worker, const struct source *source) {
  uint8_t key[KEY_BYTES];
  source_key(source, key);
  return counts_enter(&worker->engine->sources, key);
}

bool connection_count_source(struct connection *connection) {
  connection->source_count = enter_source(connection->worker, &connection->source);
  return connection->source_count != NULL;
}

static bool is_balancer(const struct listener *listener, const struct source *source) {
  for (size_t i = 0; i < listener->balancer_count; i++) {
    if (source_is_in(source, &listener->balancers[i])) return true;
  }
  return false;
}

void connection_accept(struct listener *listener, int fd, const struct sockaddr_storage *peer) {
  struct worker *worker = listener->worker;
  struct source source = source_of(peer);
  if (worker->engine->sockets++ >= worker->engine->limits.connections) {
    return turn_away(worker, fd, &source, OUTCOME_TOO_MANY);
  }
  bool is_from_balancer = is_balancer(listener, &source);
  struct count *count = is_from_balancer ? NULL : enter_source(worker, &source);
  if (count == NULL && !is_from_balancer) return turn_away(worker, fd, &source, OUTCOME_TOO_MANY_OF_SOURCE);
  struct connection *made = make_connection(worker, &source);
  if (made == NULL) {
    if (count != NULL) counts_leave(&worker->engine->sources, count);
    return turn_away(worker, fd, &source, OUTCOME_INTERNAL_ERROR);
  }
  made->source_count = count;
  made->is_from_balancer = is_from_balancer;
  made->passthrough_only = listener->passthrough_only;
  made->client = end_make(made, fd, true, connection_ready);
  if (made->client == NULL) return connection_end(made, OUTCOME_INTERNAL_ERROR, true);
  uint64_t first = worker->engine->limits.first_byte_us, whole = worker->engine->limits.hello_us;
  connection_enter(made, STEP_HELLO, first < whole ? first : whole);
}

bool connection_make_opening(struct connection *connection) {
  struct opening *opening = pool_take(&connection->worker->openings);
  if (opening == NULL) return false;
  memset(opening, 0, offsetof(struct opening, usual_hello));
  opening->hello = (struct buffer){
      .bytes = opening->usual_hello, .capacity = USUAL_HELLO_BYTES, .most = MAX_HELLO_BYTES, .is_lent = true};
  opening->dial = (struct dial){.connection = connection};
  connection->opening = opening;
  return true;
}

void connection_drop_opening(struct connection *connection) {
  struct opening *opening = connection->opening;
  if (opening == NULL) return;
  lookup_cancel(connection);
  dial_cancel(connection);
  buffer_free(&opening->hello);
  connection->opening = NULL;
  pool_give(&connection->worker->openings, opening);
}

void connection_enter(struct connection *connection, enum step step, uint64_t limit_us) {
  struct loop *loop = &connection->worker->loop;
  connection->step = step;
  connection->step_us = loop->now_us;
  timer_set(loop, &connection->deadline, loop->now_us + limit_us);
}

// How long the step has taken; what takes longer than this can say has no meaning.
static uint32_t step_took(const struct connection *connection) {
  uint64_t took = connection->worker->loop.now_us - connection->step_us;
  return took < UINT32_MAX ? (uint32_t)took : UINT32_MAX;
}

// --- events ---

static void go_on_with_handshake(struct connection *connection) {
  enum tls_handshake state = tls_handshake(connection->client);
  if (state == TLS_GOES_ON) return;
  if (state == TLS_FAILED) return refuse_silently(connection, OUTCOME_HANDSHAKE_FAILED);
  connection->handshake_us = step_took(connection);
  // Only now: a bare ClientHello must not make us knock on anybody's door.
  dial_start(connection);
}

void connection_ready(struct watch *watch, uint32_t events) {
  struct end *end = end_of_watch(watch);
  struct connection *connection = end->connection;
  end_note(end, events);
  switch (connection->step) {
    case STEP_HELLO:
      return first_bytes_read(connection);
    case STEP_HANDSHAKE:
      return go_on_with_handshake(connection);
    case STEP_LOOKUP:
    case STEP_DIAL:
      // What it sends now waits in the kernel. That it is gone altogether, epoll says so.
      if ((events & (EPOLLERR | EPOLLHUP)) != 0) connection_end(connection, OUTCOME_CLIENT_GONE, false);
      return;
    case STEP_RELAY:
      return relay_run(connection);
    case STEP_LINGER:
      return refuse_linger(connection);
    case STEP_CLOSED:
      return;
  }
}

static void run_again(struct task *task) {
  relay_run((struct connection *)((char *)task - offsetof(struct connection, again)));
}

static void deadline_passed(struct timer *timer) {
  struct connection *connection = (struct connection *)((char *)timer - offsetof(struct connection, deadline));
  switch (connection->step) {
    case STEP_HELLO:
      return connection_end(connection, OUTCOME_SLOW_HELLO, false);
    case STEP_LOOKUP:
      lookup_cancel(connection);
      return refuse_with_alert(connection, OUTCOME_UNKNOWN_NAME, ALERT_UNRECOGNIZED_NAME);
    case STEP_HANDSHAKE:
      return connection_end(connection, OUTCOME_HANDSHAKE_FAILED, false);
    case STEP_DIAL:
      dial_cancel(connection);
      return connection_dialled(connection, NULL, NULL);
    case STEP_RELAY:
      return relay_check_time(connection);
    case STEP_LINGER:
      return connection_end(connection, OUTCOME_FINISHED, false);  // reported when it was refused
    case STEP_CLOSED:
      return;
  }
}

// --- routing ---

void connection_route(struct connection *connection) {
  struct routes *routes = &connection->worker->engine->routes;
  if (connection->server_name == NULL) {
    return refuse_with_alert(connection, OUTCOME_NO_NAME, ALERT_UNRECOGNIZED_NAME);
  }
  struct destination found = routes_destination(routes, connection->server_name, connection->passthrough_only);
  switch (found.kind) {
    case DESTINATION_APP:
      return connection_go_to(connection, found.id, found.port, found.mode);
    case DESTINATION_UNKNOWN:
      return refuse_with_alert(connection, OUTCOME_UNKNOWN_NAME, ALERT_UNRECOGNIZED_NAME);
    case DESTINATION_CUSTOM:
      return lookup_start(connection);
  }
}

static void start_tls(struct connection *connection) {
  switch (tls_begin(connection->client, connection->server_name)) {
    case TLS_NO_CERTIFICATE:
      return refuse_with_alert(connection, OUTCOME_UNKNOWN_NAME, ALERT_UNRECOGNIZED_NAME);
    case TLS_NO_MEMORY:
      return refuse_with_alert(connection, OUTCOME_INTERNAL_ERROR, ALERT_INTERNAL_ERROR);
    case TLS_BEGUN:
      break;
  }
  connection_enter(connection, STEP_HANDSHAKE, connection->worker->engine->limits.handshake_us);
  go_on_with_handshake(connection);
}

void connection_go_to(struct connection *connection, const uint8_t id[ID_BYTES], uint16_t port, enum route_mode mode) {
  struct worker *worker = connection->worker;
  struct opening *opening = connection->opening;
  // One answer to everything that is not there: whether an id exists, or a port is closed to the public, stays ours.
  switch (routes_find(&worker->engine->routes, id, port, opening->backends, &opening->backend_count)) {
    case ROUTES_UNKNOWN:
      return refuse_with_alert(connection, OUTCOME_UNKNOWN_NAME, ALERT_UNRECOGNIZED_NAME);
    case ROUTES_PORT_NOT_ALLOWED:
      return refuse_with_alert(connection, OUTCOME_PORT_NOT_ALLOWED, ALERT_UNRECOGNIZED_NAME);
    case ROUTES_FOUND:
      break;
  }
  connection->mode = mode;
  connection->port = port;
  connection->app_count = counts_enter(&worker->engine->apps, opening->backends[0].app);
  if (connection->app_count == NULL) {
    return refuse_with_alert(connection, OUTCOME_TOO_MANY_OF_APP, ALERT_INTERNAL_ERROR);
  }
  if (mode == MODE_PASSTHROUGH) return dial_start(connection);
  start_tls(connection);
}

void connection_dialled(struct connection *connection, struct end *app, const struct backend *backend) {
  struct worker *worker = connection->worker;
  connection->connect_us = step_took(connection);
  if (app != NULL) {
    connection->app = app;
    connection->opening->backends[0] = *backend;
    connection->instance_count = counts_enter(&worker->engine->instances, backend->instance);
    if (connection->instance_count == NULL) return connection_end(connection, OUTCOME_INTERNAL_ERROR, true);
    relay_start(connection);
  } else if (connection->mode == MODE_PASSTHROUGH) {
    refuse_with_alert(connection, OUTCOME_CONNECT_FAILED, ALERT_INTERNAL_ERROR);
  } else {
    refuse_with_bad_gateway(connection);
  }
}

// --- end ---

static void unlink_connection(struct connection *connection) {
  *connection->previous = connection->next;
  if (connection->next != NULL) connection->next->previous = connection->previous;
}

void connection_end(struct connection *connection, enum outcome outcome, bool by_reset) {
  struct worker *worker = connection->worker;
  if (connection->step == STEP_CLOSED) return;
  connection->step = STEP_CLOSED;
  timer_clear(&worker->loop, &connection->deadline);
  loop_unqueue(&worker->loop, &connection->again);
  pipes_return(&worker->pipes, connection->to_app.pipe);
  pipes_return(&worker->pipes, connection->to_client.pipe);
  if (connection->client != NULL) end_close(connection->client, by_reset);
  if (connection->app != NULL) end_close(connection->app, by_reset);
  if (connection->source_count != NULL) counts_leave(&worker->engine->sources, connection->source_count);
  worker->engine->sockets--;
  // Only now: another thread may tell at once that it is not open any more, and then there is room for the next one.
  report_connection(connection, outcome);
  connection_drop_opening(connection);
  free(connection->server_name);
  unlink_connection(connection);
  loop_discard(&worker->loop, &connection->garbage);
}
