// One exchange with the quote generation service: a message each way, each after its length in 4 bytes, big-endian.
// Every wait ends at one deadline: a call that never returned would keep a thread of the pool, and Node from exiting.
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#include "operations.h"

static int64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// Gives the socket what is left of the time; 0 or an errno.
static int limit(int fd, int level, int option, int64_t deadline) {
  int64_t left = deadline - now_ms();
  if (left <= 0) return ETIMEDOUT;
  struct timeval wait = {.tv_sec = left / 1000, .tv_usec = (left % 1000) * 1000};
  return setsockopt(fd, level, option, &wait, sizeof wait) == 0 ? 0 : errno;
}

static int send_all(int fd, const uint8_t *data, size_t length, int64_t deadline) {
  while (length > 0) {
    int error = limit(fd, SOL_SOCKET, SO_SNDTIMEO, deadline);
    if (error != 0) return error;
    ssize_t sent = send(fd, data, length, MSG_NOSIGNAL);
    if (sent == -1 && errno == EINTR) continue;
    if (sent == -1) return errno == EAGAIN || errno == EWOULDBLOCK ? ETIMEDOUT : errno;
    data += sent;
    length -= (size_t)sent;
  }
  return 0;
}

static int receive_all(int fd, uint8_t *data, size_t length, int64_t deadline) {
  while (length > 0) {
    int error = limit(fd, SOL_SOCKET, SO_RCVTIMEO, deadline);
    if (error != 0) return error;
    ssize_t got = recv(fd, data, length, 0);
    if (got == -1 && errno == EINTR) continue;
    if (got == -1) return errno == EAGAIN || errno == EWOULDBLOCK ? ETIMEDOUT : errno;
    if (got == 0) return ECONNRESET;  // the peer hung up in the middle
    data += got;
    length -= (size_t)got;
  }
  return 0;
}

static int connect_vsock(int fd, uint32_t cid, uint32_t port, int64_t deadline) {
  struct sockaddr_vm address;
  memset(&address, 0, sizeof address);
  address.svm_family = AF_VSOCK;
  address.svm_cid = cid;
  address.svm_port = port;
  int error = limit(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, deadline);
  if (error != 0) return error;
  // Not tried again after EINTR: the first attempt goes on in the kernel, and a second one would only confuse.
  return connect(fd, (struct sockaddr *)&address, sizeof address) == 0 ? 0 : errno;
}

static int exchange(int fd, const uint8_t *message, size_t length, size_t max_bytes, int64_t deadline,
                    struct tdx_result *result) {
  uint32_t prefix = htonl((uint32_t)length);
  result->syscall = "send";
  int error = send_all(fd, (const uint8_t *)&prefix, sizeof prefix, deadline);
  if (error == 0) error = send_all(fd, message, length, deadline);
  if (error != 0) return error;

  result->syscall = "recv";
  error = receive_all(fd, (uint8_t *)&prefix, sizeof prefix, deadline);
  if (error != 0) return error;
  size_t answered = ntohl(prefix);
  if (answered == 0 || answered > max_bytes) return EMSGSIZE;
  result->data = malloc(answered);
  if (result->data == NULL) return ENOMEM;
  result->length = answered;
  return receive_all(fd, result->data, answered, deadline);
}

void qgs_exchange(uint32_t cid, uint32_t port, const uint8_t *message, size_t length, uint32_t timeout_ms,
                  size_t max_bytes, struct tdx_result *result) {
  int64_t deadline = now_ms() + timeout_ms;
  int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
  result->syscall = "socket";
  if (fd == -1) {
    result->error = errno;
    return;
  }
  result->syscall = "connect";
  result->error = connect_vsock(fd, cid, port, deadline);
  if (result->error == 0) result->error = exchange(fd, message, length, max_bytes, deadline, result);
  close(fd);
}
