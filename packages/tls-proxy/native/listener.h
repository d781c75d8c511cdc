// Accepts connections, and pauses when there are no descriptors for more.
#ifndef DSTACK_PROXY_LISTENER_H
#define DSTACK_PROXY_LISTENER_H

#include <sys/socket.h>

#include "loop.h"
#include "protocol.h"
#include "source.h"

struct engine;

struct listener {
  struct watch watch;
  struct timer pause;
  struct engine *engine;
  bool passthrough_only;
  struct prefix balancers[MAX_PREFIXES];  // who has to say for whom he speaks
  size_t balancer_count;
  bool is_accepting;
  uint16_t port;  // as bound
};

// Binds, without listening yet. Gives 0 or an errno.
int listener_open(struct listener *listener, struct engine *engine, const struct sockaddr_storage *address);
// Accepts from now on. Gives 0 or an errno.
int listener_start(struct listener *listener);
// Accepts who waits already and no more, until it is started again. Keeps the port.
void listener_stop(struct listener *listener);
void listener_close(struct listener *listener);

#endif
