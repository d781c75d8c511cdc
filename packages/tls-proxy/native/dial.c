// Connects to the first of the preferred instances that answers: the freshest has a head start, the next one or two
// run after it. The losers are closed.
#include <errno.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "connection.h"
#include "engine.h"
#include "tls.h"

// A later instance starts when the one before it has not answered in this time, or has failed.
#define HEAD_START_US 200000

static void start_next(struct dial *dial);
static void attempt_ready(struct watch *watch, uint32_t events);

static void head_start_over(struct timer *timer) {
  start_next((struct dial *)((char *)timer - offsetof(struct dial, head_start)));
}

static bool is_anyone_running(const struct dial *dial) {
  for (size_t i = 0; i < dial->started; i++) {
    if (dial->running[i] != NULL) return true;
  }
  return false;
}

static socklen_t address_of(const struct backend *backend, uint16_t port, struct sockaddr_storage *address) {
  *address = (struct sockaddr_storage){.ss_family = backend->is_ipv6 ? AF_INET6 : AF_INET};
  if (backend->is_ipv6) {
    struct sockaddr_in6 *ipv6 = (struct sockaddr_in6 *)address;
    ipv6->sin6_port = htons(port);
    memcpy(&ipv6->sin6_addr, backend->address, sizeof ipv6->sin6_addr);
    return sizeof *ipv6;
  }
  struct sockaddr_in *ipv4 = (struct sockaddr_in *)address;
  ipv4->sin_port = htons(port);
  memcpy(&ipv4->sin_addr, backend->address, sizeof ipv4->sin_addr);
  return sizeof *ipv4;
}

// Whether there is something for the app as soon as it answers.
static bool speaks_at_once(const struct connection *connection) {
  return connection->mode == MODE_PASSTHROUGH || tls_has_bytes(connection->client);
}

// Without Nagle's delay. NULL: not even begun.
static struct end *connect_to(struct connection *connection, const struct backend *backend) {
  const int on = 1, off = 0;
  struct sockaddr_storage address;
  socklen_t length = address_of(backend, connection->port, &address);
  int fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return NULL;
  struct watch watch = {.fd = fd};
  if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0 ||
      setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on) < 0 ||
      // What goes at once acknowledges too, and saves a packet of its own for that.
      (speaks_at_once(connection) && setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &off, sizeof off) < 0) ||
      (connect(fd, (const struct sockaddr *)&address, length) < 0 && errno != EINPROGRESS)) {
    watch_close(&watch);
    return NULL;
  }
  return end_make(connection, fd, false, attempt_ready);
}

static void finish(struct dial *dial, struct end *winner, const struct backend *backend) {
  struct connection *connection = dial->connection;
  for (size_t i = 0; i < dial->started; i++) {
    if (dial->running[i] == winner) dial->running[i] = NULL;
  }
  dial_cancel(connection);
  connection_dialled(connection, winner, backend);
}

static void start_next(struct dial *dial) {
  struct connection *connection = dial->connection;
  const struct opening *opening = connection->opening;
  struct loop *loop = &connection->worker->loop;
  timer_clear(loop, &dial->head_start);
  while (dial->started < opening->backend_count) {
    size_t index = dial->started++;
    dial->running[index] = connect_to(connection, &opening->backends[index]);
    if (dial->running[index] == NULL) continue;
    timer_set(loop, &dial->head_start, loop->now_us + HEAD_START_US);
    return;
  }
  if (!is_anyone_running(dial)) finish(dial, NULL, NULL);
}

static void attempt_ready(struct watch *watch, uint32_t events) {
  struct end *end = end_of_watch(watch);
  struct connection *connection = end->connection;
  struct dial *dial = &connection->opening->dial;
  size_t index = 0;
  end_note(end, events);
  while (index < dial->started && dial->running[index] != end) index++;
  if (index == dial->started) return;
  if (end->broken) {
    dial->running[index] = NULL;
    end_close(end, false);
    return start_next(dial);
  }
  if (!end->can_write) return;
  end->watch.ready = connection_ready;
  struct backend backend = connection->opening->backends[index];
  finish(dial, end, &backend);
}

void dial_start(struct connection *connection) {
  struct dial *dial = &connection->opening->dial;
  connection_enter(connection, STEP_DIAL, connection->worker->engine->limits.connect_us);
  dial->head_start.fire = head_start_over;
  start_next(dial);
}

void dial_cancel(struct connection *connection) {
  struct dial *dial = &connection->opening->dial;
  timer_clear(&connection->worker->loop, &dial->head_start);
  while (dial->started > 0) {
    struct end *loser = dial->running[--dial->started];
    if (loser != NULL) end_close(loser, false);
  }
}
