#include "end.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "connection.h"
#include "engine.h"
#include "tls.h"

// One read that could not be sent, or what TLS makes of it, and then some for alerts and tickets.
#define MAX_WAITING_BYTES (2 * SCRATCH_BYTES)

struct end *end_of_watch(struct watch *watch) { return (struct end *)((char *)watch - offsetof(struct end, watch)); }

// Only what is of use: what an edge-triggered socket is watched for, it is told with every event, and a change repeats it.
static uint32_t events_of(const struct end *end) {
  uint32_t events = EPOLLRDHUP | EPOLLET;
  if (!end->is_muted) events |= EPOLLIN;
  if (end->hears_of_room) events |= EPOLLOUT;
  return events;
}

static void rewatch(struct end *end) {
  if (!loop_rewatch(&end->connection->worker->loop, &end->watch, events_of(end))) end->broken = true;
}

struct end *end_make(struct connection *connection, int fd, bool is_connected, void (*ready)(struct watch *, uint32_t)) {
  struct end *end = calloc(1, sizeof *end);
  struct watch watch = {.fd = fd, .ready = ready};
  if (end == NULL) {
    watch_close(&watch);
    return NULL;
  }
  end->watch = watch;
  end->connection = connection;
  end->can_write = is_connected;
  end->hears_of_room = !is_connected;
  if (!loop_watch(&connection->worker->loop, &end->watch, events_of(end))) {
    end_close(end, false);
    return NULL;
  }
  return end;
}

void end_note(struct end *end, uint32_t events) {
  if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) end->can_read = true;
  if ((events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0) end->can_write = true;
  if ((events & (EPOLLRDHUP | EPOLLHUP)) != 0) end->hung_up = true;
  if ((events & EPOLLERR) != 0) end->broken = true;
}

void end_is_dry(struct end *end) {
  end->can_read = false;
  if (!end->is_muted) return;
  end->is_muted = false;
  rewatch(end);
}

void end_has_no_room(struct end *end) {
  end->can_write = false;
  if (end->hears_of_room) return;
  end->hears_of_room = true;
  rewatch(end);
}

void end_mute(struct end *end) {
  if (end->is_muted || !end->can_read) return;
  end->is_muted = true;
  end->hears_of_room = !end->can_write;
  rewatch(end);
}

static ssize_t read_raw(struct end *end, uint8_t *bytes, size_t length) {
  while (end->can_read) {
    ssize_t count = recv(end->watch.fd, bytes, length, 0);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno != EAGAIN) return END_BROKEN;
    // A short read means dry: epoll tells of anything later. Only an end that came before is not told again.
    if (count < 0 || (count > 0 && (size_t)count < length && !end->hung_up)) end_is_dry(end);
    return count < 0 ? END_AGAIN : count;
  }
  return END_AGAIN;
}

ssize_t end_read(struct end *end, uint8_t *bytes, size_t length) {
  return end->tls == NULL ? read_raw(end, bytes, length) : tls_read(end, bytes, length);
}

// How many bytes the kernel took; -1: broken.
static ssize_t send_some(struct end *end, const uint8_t *bytes, size_t length, enum urgency urgency) {
  int flags = MSG_NOSIGNAL | (urgency == SEND_WITH_NEXT ? MSG_MORE : 0);
  size_t sent = 0;
  while (end->can_write && sent < length) {
    ssize_t count = send(end->watch.fd, bytes + sent, length - sent, flags);
    if (count >= 0) {
      sent += (size_t)count;
    } else if (errno == EAGAIN) {
      end_has_no_room(end);
    } else if (errno != EINTR) {
      return -1;
    }
  }
  return (ssize_t)sent;
}

static bool wait_with(struct end *end, const uint8_t *bytes, size_t length) {
  if (length == 0) return true;
  if (end->waiting == NULL) end->waiting = calloc(1, sizeof *end->waiting);
  if (end->waiting == NULL) return false;
  end->waiting->most = MAX_WAITING_BYTES;
  buffer_put(end->waiting, bytes, length);
  return !end->waiting->failed;
}

static void free_waiting(struct end *end) {
  if (end->waiting == NULL) return;
  buffer_free(end->waiting);
  free(end->waiting);
  end->waiting = NULL;
}

bool end_write_raw(struct end *end, const uint8_t *bytes, size_t length, enum urgency urgency) {
  if (!end_flush(end)) return false;
  if (length == 0) return true;
  ssize_t sent = end_is_full(end) ? 0 : send_some(end, bytes, length, urgency);
  if (sent < 0) return false;
  return wait_with(end, bytes + sent, length - (size_t)sent);
}

bool end_write(struct end *end, const uint8_t *bytes, size_t length) {
  return end->tls == NULL ? end_write_raw(end, bytes, length, SEND_NOW) : tls_write(end, bytes, length);
}

bool end_is_full(const struct end *end) { return end->waiting != NULL; }

bool end_flush(struct end *end) {
  if (!end_is_full(end) || !end->can_write) return true;
  ssize_t sent = send_some(end, end->waiting->bytes, end->waiting->length, SEND_NOW);
  if (sent < 0) return false;
  if ((size_t)sent == end->waiting->length) free_waiting(end);
  else buffer_drop(end->waiting, (size_t)sent);
  return true;
}

bool end_shut(struct end *end) { return shutdown(end->watch.fd, SHUT_WR) == 0; }

void end_close(struct end *end, bool by_reset) {
  const struct linger at_once = {.l_onoff = 1, .l_linger = 0};
  // Refused: then it is closed the ordinary way.
  if (by_reset) setsockopt(end->watch.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  watch_close(&end->watch);
  if (end->tls != NULL) SSL_free(end->tls);
  end->tls = NULL;
  free_waiting(end);
  loop_discard(&end->connection->worker->loop, &end->garbage);
}
