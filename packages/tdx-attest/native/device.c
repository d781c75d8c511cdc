// The TDX guest driver's ioctls (linux/tdx-guest.h, and EXTEND_RTMR of the drivers outside the kernel tree).
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "operations.h"

struct report_request {
  uint8_t report_data[TDX_REPORT_DATA_BYTES];
  uint8_t report[TDX_REPORT_BYTES];
};

// 49 bytes, no padding: the size is part of the ioctl number.
struct extend_request {
  uint8_t digest[TDX_DIGEST_BYTES];
  uint8_t index;
};

#define TDX_CMD_GET_REPORT0 _IOWR('T', 1, struct report_request)
#define TDX_CMD_EXTEND_RTMR_WRITE _IOW('T', 3, struct extend_request)
// Declared as if the driver wrote to us; it reads all the same.
#define TDX_CMD_EXTEND_RTMR_READ _IOR('T', 3, struct extend_request)

_Static_assert(TDX_CMD_GET_REPORT0 == 0xC4405401u, "GET_REPORT0");
_Static_assert(TDX_CMD_EXTEND_RTMR_WRITE == 0x40315403u, "EXTEND_RTMR, write flavour");
_Static_assert(TDX_CMD_EXTEND_RTMR_READ == 0x80315403u, "EXTEND_RTMR, read flavour");

// 0 or an errno. Drivers outside the tree return the TDX module's status as it is, of which the system call keeps the
// lower half: a positive number, or some other negative one, is a failure like any other.
static int device_ioctl(int fd, unsigned long command, void *argument) {
  int rc;
  do {
    rc = ioctl(fd, command, argument);
  } while (rc == -1 && errno == EINTR);
  if (rc == 0) return 0;
  return rc == -1 ? errno : EIO;
}

static int open_device(const char *path, struct tdx_result *result) {
  int fd;
  do {
    fd = open(path, O_RDWR | O_CLOEXEC);
  } while (fd == -1 && errno == EINTR);
  if (fd == -1) {
    result->error = errno;
    result->syscall = "open";
  }
  return fd;
}

void tdx_get_report(const char *path, const uint8_t report_data[TDX_REPORT_DATA_BYTES], struct tdx_result *result) {
  struct report_request argument;
  memset(&argument, 0, sizeof argument);
  memcpy(argument.report_data, report_data, sizeof argument.report_data);
  int fd = open_device(path, result);
  if (fd == -1) return;
  result->error = device_ioctl(fd, TDX_CMD_GET_REPORT0, &argument);
  result->syscall = "ioctl GET_REPORT0";
  close(fd);
  if (result->error != 0) return;
  result->data = malloc(sizeof argument.report);
  if (result->data == NULL) {
    result->error = ENOMEM;
    return;
  }
  memcpy(result->data, argument.report, sizeof argument.report);
  result->length = sizeof argument.report;
}

void tdx_extend_rtmr(const char *path, uint8_t index, const uint8_t digest[TDX_DIGEST_BYTES],
                     struct tdx_result *result) {
  struct extend_request argument;
  memcpy(argument.digest, digest, sizeof argument.digest);
  argument.index = index;
  int fd = open_device(path, result);
  if (fd == -1) return;
  // ENOTTY says that this driver does not know the command, so nothing was extended yet.
  result->error = device_ioctl(fd, TDX_CMD_EXTEND_RTMR_WRITE, &argument);
  if (result->error == ENOTTY) result->error = device_ioctl(fd, TDX_CMD_EXTEND_RTMR_READ, &argument);
  result->syscall = "ioctl EXTEND_RTMR";
  close(fd);
}
