// Carries bytes between client and app until both directions are done. An end in one direction ends only that
// direction; a reset on one side becomes a reset on the other; a slow reader stops the reading opposite.
//
// Bytes are copied through one buffer that all connections share. Once a read has filled a quarter of it, the flow is bulk,
// and in clear it is spliced from then on, until it comes in small pieces again.
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "connection.h"
#include "engine.h"
#include "tls.h"

#define BULK_READ_BYTES (SCRATCH_BYTES / 4)
#define SMALL_SPLICE_BYTES (8u << 10)
_Static_assert(SCRATCH_BYTES >= MAX_PROXY_HEADER_BYTES + MAX_HELLO_BYTES, "the first bytes for an app fit");

// What one connection may move in one direction before the others have their turn.
#define TURN_BYTES (4 * SCRATCH_BYTES)

enum pumped { PUMP_WAITS, PUMP_AGAIN, PUMP_DONE, PUMP_BROKEN };

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

// A direction and its ends.
struct flow {
  struct connection *connection;
  struct direction *direction;
  struct end *from, *to;
};

// --- splice ---

static size_t piped_bytes(const struct direction *direction) {
  return direction->pipe == NULL ? 0 : direction->pipe->bytes;
}

// Moves what the pipe holds into the socket. False: broken.
static bool splice_out(const struct flow *flow) {
  struct pipe_pair *pipe = flow->direction->pipe;
  while (piped_bytes(flow->direction) > 0 && flow->to->can_write) {
    ssize_t count = splice(pipe->out, NULL, flow->to->watch.fd, NULL, pipe->bytes,
                           SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (count > 0) {
      pipe->bytes -= (size_t)count;
    } else if (count < 0 && errno == EAGAIN) {
      end_has_no_room(flow->to);
    } else if (count == 0 || errno != EINTR) {
      return false;
    }
  }
  return true;
}

// Fills the empty pipe from the socket: as end_read.
static ssize_t splice_in(const struct flow *flow) {
  struct end *from = flow->from;
  struct pipe_pair *pipe = flow->direction->pipe;
  while (from->can_read) {
    ssize_t count = splice(from->watch.fd, NULL, pipe->in, NULL, pipe->size, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) {
      end_is_dry(from);  // the pipe was empty: it is the socket that has nothing
      return END_AGAIN;
    }
    if (count < 0) return END_BROKEN;
    pipe->bytes = (size_t)count;
    return count;
  }
  return END_AGAIN;
}

static bool can_splice(const struct flow *flow) { return flow->from->tls == NULL && flow->to->tls == NULL; }

// --- one direction ---

static ssize_t splice_some(const struct flow *flow) {
  ssize_t count = splice_in(flow);
  if (count > 0 && count < (ssize_t)SMALL_SPLICE_BYTES) flow->direction->spliced = false;
  return count > 0 && !splice_out(flow) ? END_BROKEN : count;
}

static ssize_t copy_some(const struct flow *flow) {
  uint8_t *scratch = flow->connection->worker->scratch;
  ssize_t count = end_read(flow->from, scratch, SCRATCH_BYTES);
  if (count >= (ssize_t)BULK_READ_BYTES) flow->direction->spliced = can_splice(flow);
  return count > 0 && !end_write(flow->to, scratch, (size_t)count) ? END_BROKEN : count;
}

static ssize_t move_some(const struct flow *flow) {
  struct direction *direction = flow->direction;
  if (direction->spliced && direction->pipe == NULL) {
    direction->pipe = pipes_borrow(&flow->connection->worker->pipes);
    direction->spliced = direction->pipe != NULL;
  }
  return direction->spliced ? splice_some(flow) : copy_some(flow);
}

static void mark_active(struct connection *connection) { connection->active_us = connection->worker->loop.now_us; }

// Sends on what was read before. False: broken.
static bool drain(const struct flow *flow) {
  struct end *to = flow->to;
  if ((!end_is_full(to) && piped_bytes(flow->direction) == 0) || !to->can_write) return true;
  if (!end_flush(to)) return false;
  if (!end_is_full(to) && !splice_out(flow)) return false;
  mark_active(flow->connection);
  return true;
}

// Passes the end of the data on. False: broken.
static bool pass_end(const struct flow *flow) {
  struct direction *direction = flow->direction;
  if (flow->to->tls != NULL && !direction->notified) {
    direction->notified = true;
    return tls_notify_end(flow->to);
  }
  bool is_last = flow->connection->to_app.done || flow->connection->to_client.done;
  direction->done = true;
  return is_last || end_shut(flow->to);  // the last end is said by closing, which comes now
}

static enum pumped pump(const struct flow *flow) {
  struct direction *direction = flow->direction;
  size_t moved = 0;
  while (!direction->done) {
    if (!drain(flow)) return PUMP_BROKEN;
    if (end_is_full(flow->to) || piped_bytes(direction) > 0) {
      end_mute(flow->from);
      // Who resets now is not seen by reading: there is no reading before this is sent.
      return flow->from->broken || flow->to->broken ? PUMP_BROKEN : PUMP_WAITS;
    }
    if (direction->ended) {
      if (!pass_end(flow)) return PUMP_BROKEN;
      continue;
    }
    if (moved >= TURN_BYTES) return PUMP_AGAIN;
    ssize_t count = move_some(flow);
    if (count == END_BROKEN) return PUMP_BROKEN;
    if (count == END_AGAIN) return PUMP_WAITS;
    mark_active(flow->connection);
    direction->ended = count == 0;
    direction->bytes += (uint64_t)count;
    moved += (size_t)count;
  }
  return PUMP_DONE;
}

// --- both ---

static bool is_half_closed(const struct connection *connection) {
  return connection->to_app.ended || connection->to_client.ended;
}

void relay_check_time(struct connection *connection) {
  struct worker *worker = connection->worker;
  const struct limits *limits = &worker->engine->limits;
  uint64_t silence =
      is_half_closed(connection) ? least(limits->half_closed_us, limits->idle_us) : limits->idle_us;
  uint64_t idle_at = connection->active_us + silence;
  uint64_t total_at = limits->total_us == 0 ? UINT64_MAX : connection->accepted_us + limits->total_us;
  if (worker->loop.now_us >= idle_at) return connection_end(connection, OUTCOME_IDLE, false);
  if (worker->loop.now_us >= total_at) return connection_end(connection, OUTCOME_TOTAL_TIME, false);
  timer_set(&worker->loop, &connection->deadline, least(idle_at, total_at));
}

// A pipe is two descriptors: who waits with nothing in it gives it back.
static enum pumped pump_with_pipe(const struct flow *flow) {
  struct direction *direction = flow->direction;
  enum pumped pumped = pump(flow);
  if (direction->pipe != NULL && direction->pipe->bytes == 0) {
    pipes_return(&flow->connection->worker->pipes, direction->pipe);
    direction->pipe = NULL;
  }
  return pumped;
}

// There is nothing left to read that would tell.
static bool is_reset(const struct flow *flow) { return flow->direction->ended && flow->from->broken; }

void relay_run(struct connection *connection) {
  struct end *client = connection->client, *app = connection->app;
  const struct flow to_app = {connection, &connection->to_app, client, app};
  const struct flow to_client = {connection, &connection->to_client, app, client};
  bool was_half_closed = is_half_closed(connection);
  enum pumped up = pump_with_pipe(&to_app);
  enum pumped down = up == PUMP_BROKEN ? PUMP_BROKEN : pump_with_pipe(&to_client);
  if (up == PUMP_DONE && down == PUMP_DONE) return connection_end(connection, OUTCOME_FINISHED, false);
  if (down == PUMP_BROKEN || is_reset(&to_app) || is_reset(&to_client)) {
    return connection_end(connection, OUTCOME_RESET, true);
  }
  if (up == PUMP_AGAIN || down == PUMP_AGAIN) loop_queue(&connection->worker->loop, &connection->again);
  if (!was_half_closed && is_half_closed(connection)) relay_check_time(connection);
}

// Tells the app by the PROXY protocol who its client is, where it asks for it. Gives back how many bytes that takes.
static size_t write_proxy_header(const struct connection *connection, uint8_t *bytes) {
  const struct opening *opening = connection->opening;
  if (!opening->backends[0].wants_header) return 0;
  struct endpoint source = {0}, destination = {0};
  if (opening->is_spoken_for) {
    source = opening->spoken_for.source;
    destination = opening->spoken_for.destination;
  } else {
    int fd = connection->client->watch.fd;
    source_endpoints(fd, &source, &destination);
  }
  return proxy_header_write(bytes, &source, &destination, connection->server_name);
}

// What the app gets first, in one piece: the PROXY header, and the hello where TLS is its own. False: broken.
static bool send_first_bytes(struct connection *connection) {
  struct buffer *hello = &connection->opening->hello;
  uint8_t *bytes = connection->worker->scratch;
  size_t length = write_proxy_header(connection, bytes);
  if (connection->client->tls == NULL) {
    memcpy(bytes + length, hello->bytes, hello->length);
    length += hello->length;
    connection->to_app.bytes = hello->length;
    buffer_free(hello);
  }
  return end_write(connection->app, bytes, length);
}

void relay_start(struct connection *connection) {
  connection->step = STEP_RELAY;
  mark_active(connection);
  if (!send_first_bytes(connection)) return connection_end(connection, OUTCOME_RESET, true);
  // What TLS has not read of it yet, it will.
  if (connection->opening->hello.length == 0) connection_drop_opening(connection);
  relay_check_time(connection);
  if (connection->step == STEP_RELAY) relay_run(connection);
}
