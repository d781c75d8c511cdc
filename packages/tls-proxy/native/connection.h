// One accepted connection, from its first byte to its end. Its files are the steps it goes through: connection.c (the
// steps and their deadlines), first_bytes.c, lookup.c, dial.c, relay.c, refuse.c, report.c.
#ifndef DSTACK_PROXY_CONNECTION_H
#define DSTACK_PROXY_CONNECTION_H

#include <sys/socket.h>

#include "counts.h"
#include "end.h"
#include "hello.h"
#include "listener.h"
#include "pipes.h"
#include "protocol.h"
#include "proxy_header.h"
#include "routes.h"
#include "source.h"

// Longer hellos are kept in the heap.
#define USUAL_HELLO_BYTES 2048

struct worker;
struct lookup;

enum step {
  STEP_HELLO,      // waits for the ClientHello
  STEP_LOOKUP,     // for the control plane, where a custom domain leads
  STEP_HANDSHAKE,  // for the end of the TLS handshake
  STEP_DIAL,       // for an instance
  STEP_RELAY,      // for bytes
  STEP_LINGER,     // refused, and for the client to go away
  STEP_CLOSED,     // memory that lives to the end of the turn
};

// From one end to the other.
struct direction {
  struct pipe_pair *pipe;  // NULL: none
  uint64_t bytes;
  bool spliced;   // bulk: moved through the pipe
  bool ended;     // `from` has no more
  bool notified;  // inside TLS: `to` has been told by close_notify
  bool done;      // `to` has been told that it has no more
};

// The race of the instances, by dial.c.
struct dial {
  struct connection *connection;
  struct timer head_start;
  struct end *running[MAX_CONTESTANTS];  // NULL: not started, or lost
  size_t started;
};

// What it takes from the first byte until it gets through or is refused: most of its life a connection does without.
struct opening {
  bool is_spoken_for;  // else the client has connected to us himself
  struct proxy_header spoken_for;
  struct hello_scan scan;
  struct buffer hello;  // what came before there was anybody to pass it on to
  struct lookup *lookup;
  struct dial dial;
  size_t backend_count;
  struct backend backends[MAX_CONTESTANTS];  // to try; later the one connected to, alone
  size_t lingered;
  uint8_t usual_hello[USUAL_HELLO_BYTES];
};

struct connection {
  struct garbage garbage;
  struct worker *worker;
  struct connection *next, **previous;
  struct opening *opening;  // NULL: no byte has come yet, or it relays
  struct end *client, *app;
  struct timer deadline;
  struct task again;
  struct direction to_app, to_client;
  struct count *source_count, *app_count, *instance_count;  // their keys say which app and instance it is of
  char *server_name;                                        // NULL: none yet
  uint64_t id, accepted_us, step_us, active_us;
  uint32_t handshake_us, connect_us;  // how long they took; 0: not done
  struct source source;
  uint16_t port;
  enum step step : 8;
  enum route_mode mode : 5;
  bool passthrough_only : 1;
  bool is_from_balancer : 1;  // and has not said yet for whom he speaks
  bool is_reported : 1;
};

// connection.c
void connection_accept(struct listener *listener, int fd, const struct sockaddr_storage *peer);
// False: there are too many of this source, or there is no memory.
bool connection_count_source(struct connection *connection);
void connection_enter(struct connection *connection, enum step step, uint64_t limit_us);
// Finds out who the name is for and goes on to them.
void connection_route(struct connection *connection);
void connection_go_to(struct connection *connection, const uint8_t id[ID_BYTES], uint16_t port, enum route_mode mode);
void connection_dialled(struct connection *connection, struct end *app, const struct backend *backend);
// False: no memory.
bool connection_make_opening(struct connection *connection);
void connection_drop_opening(struct connection *connection);
// Reports, unless that is done, and closes everything.
void connection_end(struct connection *connection, enum outcome outcome, bool by_reset);
void connection_ready(struct watch *watch, uint32_t events);

// first_bytes.c
void first_bytes_read(struct connection *connection);

// lookup.c: asks the control plane; its answer comes to lookup_found.
void lookup_start(struct connection *connection);
void lookup_cancel(struct connection *connection);
void lookup_found(struct worker *worker, uint64_t number, bool found, const uint8_t id[ID_BYTES], uint16_t port);

// dial.c: races for one of `backends`; ends in connection_dialled, with NULL when none answers.
void dial_start(struct connection *connection);
void dial_cancel(struct connection *connection);

// relay.c
void relay_start(struct connection *connection);
void relay_run(struct connection *connection);
// Ends it when it has been silent, or open, for too long; else sets the next look.
void relay_check_time(struct connection *connection);

// refuse.c: says why, reports, and waits a moment for the client to read it: closing at once would reset it away.
enum alert {
  ALERT_UNEXPECTED_MESSAGE = 10,
  ALERT_DECODE_ERROR = 50,
  ALERT_PROTOCOL_VERSION = 70,
  ALERT_INTERNAL_ERROR = 80,
  ALERT_UNRECOGNIZED_NAME = 112,
};
void refuse_with_alert(struct connection *connection, enum outcome outcome, enum alert alert);
void refuse_plain_http(struct connection *connection);
// Inside TLS, after the handshake.
void refuse_with_bad_gateway(struct connection *connection);
void refuse_silently(struct connection *connection, enum outcome outcome);
void refuse_linger(struct connection *connection);

// report.c
// Tells of those open now, the newest first.
void report_open(struct worker *worker, uint64_t number, size_t most);
void report_connection(struct connection *connection, enum outcome outcome);
void report_turned_away(struct worker *worker, const struct source *source, enum outcome outcome);
// Tells the control plane which counts have changed and which connections are over; soon, if it was told just now.
void report_soon(struct worker *worker);
void report_now(struct worker *worker);

#endif
