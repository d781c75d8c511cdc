// Accepts connections, and pauses when there are no descriptors for more.
#ifndef DSTACK_PROXY_LISTENER_H
#define DSTACK_PROXY_LISTENER_H

#include <sys/socket.h>

#include "loop.h"
#include "protocol.h"
#include "source.h"

struct worker;

struct listener {
  struct watch watch;
  struct timer pause;
  struct worker *worker;
  bool passthrough_only;
  struct prefix balancers[MAX_PREFIXES];  // who has to say for whom he speaks
  size_t balancer_count;
  bool is_accepting;
  uint16_t port;  // as bound
};

// Binds, without listening yet. Gives 0 or an errno.
int listener_open(struct listener *listener, struct worker *worker, const struct sockaddr_storage *address);
// The same socket for another thread. Gives 0 or an errno.
int listener_share(struct listener *listener, struct worker *worker, const struct listener *from);
// Lets the kernel answer those who connect. Gives 0 or an errno.
int listener_listen(struct listener *listener);
// The kernel refuses them again; keeps the port.
void listener_unlisten(struct listener *listener);
// Accepts from now on; where epoll has no memory, a moment later.
void listener_start(struct listener *listener);
// Accepts who waits already and no more, until it is started again.
void listener_stop(struct listener *listener);
void listener_close(struct listener *listener);

#endif
