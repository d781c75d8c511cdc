// The app: answers requests in clear, after a canned ClientHello that it skips, and inside TLS on a second port.
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ends.h"

#define EVENTS 256
#define RECORD_HEADER 5
#define HANDSHAKE_RECORD 0x16

struct listener {
  int fd;
  SSL_CTX *context;  // NULL: in clear
};

struct connection {
  struct stream stream;
  bool greeted;  // the ClientHello, or the handshake, is behind it
  uint8_t head[RECORD_HEADER];
  size_t head_bytes, hello_left;
  uint8_t request[REQUEST_BYTES];
  size_t request_bytes;
  uint64_t owed;
};

static int epoll_fd;
static const uint8_t zeros[CHUNK_BYTES];

static SSL_CTX *server_context(const char *certificate, const char *key) {
  SSL_CTX *context = SSL_CTX_new(TLS_server_method());
  if (context == NULL || SSL_CTX_use_certificate_chain_file(context, certificate) != 1 ||
      SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1) {
    die("TLS server context");
  }
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_session_id_context(context, (const unsigned char *)"ends", 4);
  return context;
}

static int listen_on(uint16_t port) {
  const int on = 1;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_ANY)};
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0 ||
      bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 4096) < 0) {
    die("listen");
  }
  return fd;
}

static void end(struct connection *connection) {
  stream_close(&connection->stream);
  free(connection);
}

static void accept_all(const struct listener *listener) {
  int fd;
  while ((fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
    struct connection *made = calloc(1, sizeof *made);
    if (made == NULL) die("connection");
    made->stream.fd = fd;
    if (listener->context != NULL) {
      made->stream.tls = SSL_new(listener->context);
      if (made->stream.tls == NULL) die("SSL_new");
      SSL_set_fd(made->stream.tls, fd);
      SSL_set_accept_state(made->stream.tls);
    }
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = made};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) die("epoll_ctl");
  }
}

// 1: past it; else as stream_read. What does not begin as a record begins as a request.
static ssize_t skip_hello(struct connection *connection) {
  while (connection->head_bytes < RECORD_HEADER) {
    ssize_t count = stream_read(&connection->stream, connection->head + connection->head_bytes,
                                RECORD_HEADER - connection->head_bytes);
    if (count <= 0) return count == 0 ? STREAM_BROKEN : count;
    connection->head_bytes += (size_t)count;
    if (connection->head[0] != HANDSHAKE_RECORD) {
      memcpy(connection->request, connection->head, connection->head_bytes);
      connection->request_bytes = connection->head_bytes;
      return 1;
    }
    connection->hello_left = (size_t)connection->head[3] << 8 | connection->head[4];
  }
  while (connection->hello_left > 0) {
    ssize_t count = stream_discard(&connection->stream, connection->hello_left);
    if (count <= 0) return count == 0 ? STREAM_BROKEN : count;
    connection->hello_left -= (size_t)count;
  }
  return 1;
}

static ssize_t greet(struct connection *connection) {
  ssize_t done = connection->stream.tls == NULL ? skip_hello(connection) : stream_handshake(&connection->stream);
  connection->greeted = done == 1;
  return done;
}

static ssize_t answer(struct connection *connection) {
  ssize_t count = stream_write(&connection->stream, zeros, connection->owed < CHUNK_BYTES ? connection->owed : CHUNK_BYTES);
  if (count > 0) connection->owed -= (uint64_t)count;
  return count;
}

static ssize_t read_request(struct connection *connection) {
  ssize_t count = stream_read(&connection->stream, connection->request + connection->request_bytes,
                              REQUEST_BYTES - connection->request_bytes);
  if (count <= 0) return count == 0 ? STREAM_BROKEN : count;
  connection->request_bytes += (size_t)count;
  if (connection->request_bytes < REQUEST_BYTES) return count;
  connection->request_bytes = 0;
  for (size_t i = 0; i < 8; i++) connection->owed = connection->owed << 8 | connection->request[i];
  return count;
}

static void serve(struct connection *connection) {
  ssize_t result = 1;
  while (result > 0) {
    if (!connection->greeted) result = greet(connection);
    else result = connection->owed > 0 ? answer(connection) : read_request(connection);
  }
  if (result != STREAM_AGAIN) end(connection);
}

int backend_main(int argc, char **argv) {
  if (argc != 5) return 2;
  struct listener listeners[] = {{listen_on((uint16_t)atoi(argv[1])), NULL},
                                 {listen_on((uint16_t)atoi(argv[2])), server_context(argv[3], argv[4])}};
  struct epoll_event events[EVENTS];
  epoll_fd = epoll_create1(0);
  for (size_t i = 0; i < 2; i++) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &listeners[i]};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listeners[i].fd, &event) < 0) die("epoll_ctl");
  }
  puts("ready");
  fflush(stdout);
  for (;;) {
    int count = epoll_wait(epoll_fd, events, EVENTS, -1);
    if (count < 0 && errno != EINTR) die("epoll_wait");
    for (int i = 0; i < count; i++) {
      if (events[i].data.ptr == &listeners[0] || events[i].data.ptr == &listeners[1]) accept_all(events[i].data.ptr);
      else serve(events[i].data.ptr);
    }
  }
}
