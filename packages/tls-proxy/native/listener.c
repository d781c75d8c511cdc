#include "listener.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include "connection.h"
#include "engine.h"

#define BACKLOG 4096
// So many in a turn; the connections there are must have their turn too.
#define ACCEPTS_PER_TURN 64
// How long no one is accepted when descriptors or memory have run out: some may have been given back by then.
#define PAUSE_US 100000

static void listener_ready(struct watch *watch, uint32_t events);
static void pause_over(struct timer *timer);

static socklen_t address_length(const struct sockaddr_storage *address) {
  return address->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}

static uint16_t address_port(const struct sockaddr_storage *address) {
  return ntohs(address->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)address)->sin6_port
                                              : ((const struct sockaddr_in *)address)->sin_port);
}

// A port that the kernel chose is ours only while we listen. Bound by its number it stays: two sockets of one address
// are fine as long as neither listens.
static int bind_for_good(int fd, struct sockaddr_storage *address) {
  const int on = 1;
  socklen_t length = address_length(address);
  if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0) return errno;
  if (address_port(address) != 0) return bind(fd, (struct sockaddr *)address, length) < 0 ? errno : 0;
  struct watch chooser = {.fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  bool good = chooser.fd >= 0 && setsockopt(chooser.fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
              bind(chooser.fd, (struct sockaddr *)address, length) == 0 &&
              getsockname(chooser.fd, (struct sockaddr *)address, &length) == 0 &&
              bind(fd, (struct sockaddr *)address, length) == 0;
  int error = errno;
  watch_close(&chooser);
  return good ? 0 : error;
}

int listener_open(struct listener *listener, struct worker *worker, const struct sockaddr_storage *address) {
  const int on = 1, off = 0;
  struct sockaddr_storage bound = *address;
  *listener = (struct listener){.watch = {.ready = listener_ready}, .pause = {.fire = pause_over}, .worker = worker};
  int fd = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  listener->watch.fd = fd;
  if (fd < 0) return errno;
  // Accepted sockets inherit these. A ClientHello is not acknowledged at once: what answers it does so.
  int error = bind_for_good(fd, &bound);
  if (error == 0 && (setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on) < 0 ||
                     setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0 ||
                     setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &off, sizeof off) < 0)) {
    error = errno;
  }
  if (error != 0) {
    watch_close(&listener->watch);
    return error;
  }
  listener->port = address_port(&bound);
  return 0;
}

// Gives 0, EAGAIN when there is none, or the errno when descriptors or memory have run out.
static int accept_one(struct listener *listener) {
  struct worker *worker = listener->worker;
  // Whom we accept we must be able to connect: clients that only wait must not take the last descriptors.
  if (worker->engine->sockets >= worker->engine->most_sockets) return EMFILE;
  struct sockaddr_storage peer;
  socklen_t length = sizeof peer;
  int fd = accept4(listener->watch.fd, (struct sockaddr *)&peer, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd >= 0) {
    connection_accept(listener, fd, &peer);
    return 0;
  }
  bool has_run_out = errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM;
  if (errno == EINVAL) return EAGAIN;  // it does not listen any more: we are about to be told
  // Anything else is the fate of one connection that was over before we had it (accept(2)).
  return errno == EAGAIN || has_run_out ? errno : 0;
}

int listener_share(struct listener *listener, struct worker *worker, const struct listener *from) {
  *listener = *from;
  listener->worker = worker;
  listener->is_accepting = false;
  listener->pause.place = 0;
  listener->watch.fd = fcntl(from->watch.fd, F_DUPFD_CLOEXEC, 0);
  return listener->watch.fd < 0 ? errno : 0;
}

int listener_listen(struct listener *listener) { return listen(listener->watch.fd, BACKLOG) < 0 ? errno : 0; }

// Of a listening socket this ends the listening (tcp_disconnect), and leaves it bound.
void listener_unlisten(struct listener *listener) { shutdown(listener->watch.fd, SHUT_RD); }

// Level-triggered: whom one turn leaves in the queue, the next one takes. Of several threads not all are woken.
static void watch_queue(struct listener *listener) {
  struct loop *loop = &listener->worker->loop;
  if (loop_watch(loop, &listener->watch, EPOLLIN | EPOLLEXCLUSIVE)) return;
  timer_set(loop, &listener->pause, loop->now_us + PAUSE_US);
}

void listener_start(struct listener *listener) {
  if (listener->is_accepting) return;
  listener->is_accepting = true;
  watch_queue(listener);
}

void listener_stop(struct listener *listener) {
  if (!listener->is_accepting) return;
  while (accept_one(listener) == 0) continue;
  listener->is_accepting = false;
  timer_clear(&listener->worker->loop, &listener->pause);
  loop_unwatch(&listener->worker->loop, &listener->watch);
}

void listener_close(struct listener *listener) {
  timer_clear(&listener->worker->loop, &listener->pause);
  // Closing alone would not end the watching while another thread has the socket.
  if (listener->is_accepting) loop_unwatch(&listener->worker->loop, &listener->watch);
  watch_close(&listener->watch);
}

static void pause_over(struct timer *timer) {
  watch_queue((struct listener *)((char *)timer - offsetof(struct listener, pause)));
}

static void pause_accepting(struct listener *listener) {
  struct loop *loop = &listener->worker->loop;
  loop_unwatch(loop, &listener->watch);
  timer_set(loop, &listener->pause, loop->now_us + PAUSE_US);
}

static void listener_ready(struct watch *watch, uint32_t events) {
  struct listener *listener = (struct listener *)watch;
  (void)events;
  for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
    int error = accept_one(listener);
    if (error == EAGAIN) return;
    if (error != 0) return pause_accepting(listener);
  }
}
