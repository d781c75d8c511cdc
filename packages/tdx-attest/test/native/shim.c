// LD_PRELOAD: stands between the addon and the kernel, so that every answer of a driver or a vsock peer can be played.
//   SHIM_DEVICE  path that pretends to be the device
//   SHIM_OPEN    errno of the first open, or nothing
//   SHIM_IOCTL   answers of the ioctls in order, "rc:errno" separated by commas; afterwards success
//   SHIM_HANG    "open" or "ioctl": these calls on the device take SHIM_HANG_SECONDS
//   SHIM_FAIL    "open:13", or ioctl, socket, setsockopt, connect, send, recv: every such call fails with this errno
//   SHIM_LOG     file that gets a line for every ioctl and vsock call
//   SHIM_VSOCK   unix socket that vsock connections go to
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#define GET_REPORT0 0xC4405401ul
#define EXTEND_WRITE 0x40315403ul
#define EXTEND_READ 0x80315403ul

static int device_fd = -1;
static int vsock_fd = -1;
static int opened, answered;

static void note(const char *format, ...) {
  const char *path = getenv("SHIM_LOG");
  FILE *log = path == NULL ? NULL : fopen(path, "a");
  if (log == NULL) return;
  va_list args;
  va_start(args, format);
  vfprintf(log, format, args);
  va_end(args);
  fclose(log);
}

static void hang(const char *name) {
  const char *hangs = getenv("SHIM_HANG");
  if (hangs == NULL || strcmp(hangs, name) != 0) return;
  note("hang %s\n", name);
  const char *seconds = getenv("SHIM_HANG_SECONDS");
  sleep(seconds == NULL ? 60 : (unsigned)atoi(seconds));
}

// Sets errno and is true when this call on the device or a vsock socket is to fail.
static int fails(const char *name) {
  const char *fault = getenv("SHIM_FAIL");
  size_t length = strlen(name);
  if (fault == NULL || strncmp(fault, name, length) != 0 || fault[length] != ':') return 0;
  errno = atoi(fault + length + 1);
  return 1;
}

int open(const char *path, int flags, ...) {
  va_list args;
  va_start(args, flags);
  mode_t mode = va_arg(args, mode_t);
  va_end(args);
  int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
  const char *device = getenv("SHIM_DEVICE");
  if (device == NULL || strcmp(path, device) != 0) return real(path, flags, mode);
  hang("open");
  if (fails("open")) return -1;
  const char *fault = getenv("SHIM_OPEN");
  if (fault != NULL && opened++ == 0) {
    errno = atoi(fault);
    return -1;
  }
  device_fd = real("/dev/null", flags, mode);
  return device_fd;
}

// The answer for this call; true when it is a fault.
static int fault(int *rc) {
  const char *list = getenv("SHIM_IOCTL");
  int wanted = answered++;
  for (int i = 0; list != NULL && *list != '\0'; i++) {
    int error = 0;
    sscanf(list, "%d:%d", rc, &error);
    if (i == wanted) {
      errno = error;
      return *rc != 0;
    }
    list = strchr(list, ',');
    if (list != NULL) list++;
  }
  return 0;
}

int ioctl(int fd, unsigned long command, ...) {
  va_list args;
  va_start(args, command);
  unsigned char *argument = va_arg(args, unsigned char *);
  va_end(args);
  if (fd == -1 || fd != device_fd) {
    int (*real)(int, unsigned long, ...) = dlsym(RTLD_NEXT, "ioctl");
    return real(fd, command, argument);
  }
  int rc = 0;
  hang("ioctl");
  if (fails("ioctl")) return -1;
  if (command == GET_REPORT0) {
    note("report\n");
    if (fault(&rc)) return rc;
    memset(argument + 64, 0xab, 1024);
    memcpy(argument + 64 + 128, argument, 64);
    return 0;
  }
  if (command == EXTEND_WRITE || command == EXTEND_READ) {
    note("extend-%s %d %02x%02x\n", command == EXTEND_WRITE ? "write" : "read", argument[48], argument[0], argument[47]);
    return fault(&rc) ? rc : 0;
  }
  note("unknown %lx\n", command);
  errno = ENOTTY;
  return -1;
}

// Like a real close, it may leave another errno behind.
int close(int fd) {
  int (*real)(int) = dlsym(RTLD_NEXT, "close");
  int rc = real(fd);
  if (fd == device_fd) {
    device_fd = -1;
    errno = EBADF;
  }
  return rc;
}

int socket(int domain, int type, int protocol) {
  int (*real)(int, int, int) = dlsym(RTLD_NEXT, "socket");
  if (domain != AF_VSOCK) return real(domain, type, protocol);
  if (fails("socket")) return -1;
  return vsock_fd = real(AF_UNIX, type, protocol);
}

int setsockopt(int fd, int level, int option, const void *value, socklen_t length) {
  int (*real)(int, int, int, const void *, socklen_t) = dlsym(RTLD_NEXT, "setsockopt");
  if (fd == vsock_fd && fails("setsockopt")) return -1;
  if (level == AF_VSOCK) {
    note("connect-timeout %d\n", option == SO_VM_SOCKETS_CONNECT_TIMEOUT);
    return 0;
  }
  return real(fd, level, option, value, length);
}

ssize_t send(int fd, const void *data, size_t length, int flags) {
  ssize_t (*real)(int, const void *, size_t, int) = dlsym(RTLD_NEXT, "send");
  if (fd == vsock_fd && fails("send")) return -1;
  return real(fd, data, length, flags);
}

ssize_t recv(int fd, void *data, size_t length, int flags) {
  ssize_t (*real)(int, void *, size_t, int) = dlsym(RTLD_NEXT, "recv");
  if (fd == vsock_fd && fails("recv")) return -1;
  return real(fd, data, length, flags);
}

int connect(int fd, const struct sockaddr *address, socklen_t length) {
  int (*real)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "connect");
  if (address->sa_family != AF_VSOCK) return real(fd, address, length);
  const struct sockaddr_vm *vm = (const struct sockaddr_vm *)address;
  note("connect %u:%u\n", vm->svm_cid, vm->svm_port);
  if (fails("connect")) return -1;
  struct sockaddr_un unix_address = {.sun_family = AF_UNIX};
  const char *path = getenv("SHIM_VSOCK");
  if (path == NULL) {
    errno = ENODEV;
    return -1;
  }
  strncpy(unix_address.sun_path, path, sizeof unix_address.sun_path - 1);
  return real(fd, (struct sockaddr *)&unix_address, sizeof unix_address);
}
