// The data plane: one thread, one event loop, and what all its connections share.
#ifndef DSTACK_PROXY_ENGINE_H
#define DSTACK_PROXY_ENGINE_H

#include <openssl/ssl.h>

#include "control.h"
#include "counts.h"
#include "limits.h"
#include "listener.h"
#include "loop.h"
#include "pipes.h"
#include "routes.h"

// The largest single read, and what a stalled reader can make us hold.
#define SCRATCH_BYTES (128u << 10)

struct connection;

struct engine {
  struct loop loop;
  struct control control;
  struct limits limits;
  struct listener listeners[MAX_LISTENERS];
  size_t listener_count;
  struct routes routes;
  SSL_CTX *tls;  // NULL until there is a certificate
  BIO_METHOD *tls_bio;
  struct counts sources, apps, instances;
  struct table lookups;
  uint64_t last_lookup;
  uint64_t last_connection;
  struct pipes pipes;
  struct connection *connections;
  uint32_t sockets;      // accepted ones that are not closed yet
  uint64_t most_sockets; // for which there are descriptors, one for the app of each included
  uint32_t open;     // of these, those not reported yet
  bool open_changed;
  struct buffer reports;  // of connections that are over, not told yet
  struct timer report_timer;
  uint64_t reported_us;
  uint8_t *scratch;       // SCRATCH_BYTES, for the moment of one read
  struct buffer records;  // what TLS writes during one call, to be sent at once
};

// Serves whoever is at the other end of the stream socket `control_fd`, until it is closed or says stop. Gives back the
// exit code of the process. Takes the process over: signals, limits, privileges.
int engine_run(int control_fd);

#endif
