// vsock-relay <port> <unix socket>: hands every vsock connection to a unix socket, as Node has no vsock. For the inside
// of a test VM, where the loopback transport answers for CID 2. Stays in the background of the process that started it.
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static int copy(int from, int to) {
  char buffer[65536];
  ssize_t got = read(from, buffer, sizeof buffer);
  for (ssize_t done = 0; done < got;) {
    ssize_t put = write(to, buffer + done, (size_t)(got - done));
    if (put <= 0) return 0;
    done += put;
  }
  return got > 0;
}

static void relay(int vsock, const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strncpy(address.sun_path, path, sizeof address.sun_path - 1);
  int local = socket(AF_UNIX, SOCK_STREAM, 0);
  if (connect(local, (struct sockaddr *)&address, sizeof address) != 0) fail(path);
  struct pollfd ends[2] = {{.fd = vsock, .events = POLLIN}, {.fd = local, .events = POLLIN}};
  while (poll(ends, 2, -1) > 0) {
    if (ends[0].revents != 0 && !copy(vsock, local)) return;
    if (ends[1].revents != 0 && !copy(local, vsock)) return;
  }
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  struct sockaddr_vm address;
  memset(&address, 0, sizeof address);
  address.svm_family = AF_VSOCK;
  address.svm_cid = VMADDR_CID_ANY;
  address.svm_port = (unsigned)atoi(argv[1]);
  signal(SIGCHLD, SIG_IGN);
  int listener = socket(AF_VSOCK, SOCK_STREAM, 0);
  if (listener < 0) fail("socket");
  if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0) fail("bind");
  if (listen(listener, 16) != 0) fail("listen");
  puts("listening");
  fflush(stdout);
  for (;;) {
    int connection = accept(listener, NULL, NULL);
    if (connection < 0) fail("accept");
    if (fork() == 0) {
      relay(connection, argv[2]);
      _exit(0);
    }
    close(connection);
  }
}
