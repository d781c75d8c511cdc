// The data plane: what its relay threads share. The first of them also speaks with the control plane.
#ifndef DSTACK_PROXY_ENGINE_H
#define DSTACK_PROXY_ENGINE_H

#include <openssl/bio.h>
#include <pthread.h>
#include <stdatomic.h>

#include "certificates.h"
#include "control.h"
#include "counts.h"
#include "limits.h"
#include "routes.h"
#include "worker.h"

struct engine {
  struct control control;
  struct limits limits;  // never changed once there are connections
  struct routes routes;
  pthread_mutex_t tls_lock;
  struct certificates *certificates;  // under the lock; NULL until there are any
  BIO_METHOD *tls_bio;
  struct counts sources, apps, instances;
  atomic_uint_fast64_t last_connection;
  atomic_uint_fast32_t sockets;  // accepted ones that are not closed yet
  uint64_t most_sockets;         // for which there are descriptors, one for the app of each included
  atomic_uint_fast32_t open;     // of these, those not reported yet
  atomic_bool open_changed;
  struct worker *workers[MAX_THREADS];
  size_t worker_count;
};

// Serves whoever is at the other end of the stream socket `control_fd`, until it is closed or says stop. Gives back the
// exit code of the process. Takes the process over: signals, limits, privileges.
int engine_run(int control_fd);

#endif
