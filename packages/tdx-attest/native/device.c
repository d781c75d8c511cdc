// The TDX guest driver's ioctls (linux/tdx-guest.h, and EXTEND_RTMR of the drivers outside the kernel tree).
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "limited.h"
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

// One use of the device: opened, asked and closed in a thread that may hang with it.
struct device_call {
  char path[TDX_PATH_MAX];
  bool is_extend;
  const char *syscall;  // the one that failed
  struct report_request report;
  struct extend_request extend;
};

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

static int ask_device(int fd, struct device_call *call) {
  if (!call->is_extend) return device_ioctl(fd, TDX_CMD_GET_REPORT0, &call->report);
  // ENOTTY says that this driver does not know the command, so nothing was extended yet.
  int error = device_ioctl(fd, TDX_CMD_EXTEND_RTMR_WRITE, &call->extend);
  return error == ENOTTY ? device_ioctl(fd, TDX_CMD_EXTEND_RTMR_READ, &call->extend) : error;
}

static int use_device(void *data) {
  struct device_call *call = data;
  int fd;
  do {
    fd = open(call->path, O_RDWR | O_CLOEXEC);
  } while (fd == -1 && errno == EINTR);
  if (fd == -1) {
    call->syscall = "open";
    return errno;
  }
  int error = ask_device(fd, call);
  close(fd);
  return error;
}

static struct device_call *new_call(const char *path, const char *syscall, struct tdx_result *result) {
  struct device_call *call = calloc(1, sizeof *call);
  result->syscall = syscall;
  if (call == NULL) {
    result->error = ENOMEM;
    return NULL;
  }
  strncpy(call->path, path, sizeof call->path - 1);
  call->syscall = syscall;
  return call;
}

// Whether the call ended well. If not it is gone, and the result says why.
static bool run_call(struct device_call *call, uint32_t timeout_ms, struct tdx_result *result) {
  result->error = run_limited(use_device, call, timeout_ms);
  if (result->error == 0) return true;
  if (result->error == LIMIT_PASSED) {
    result->error = ETIMEDOUT;
    return false;
  }
  result->syscall = call->syscall;
  free(call);
  return false;
}

void tdx_get_report(const char *path, const uint8_t report_data[TDX_REPORT_DATA_BYTES], uint32_t timeout_ms,
                    struct tdx_result *result) {
  struct device_call *call = new_call(path, "ioctl GET_REPORT0", result);
  if (call == NULL) return;
  memcpy(call->report.report_data, report_data, sizeof call->report.report_data);
  if (!run_call(call, timeout_ms, result)) return;
  result->data = malloc(sizeof call->report.report);
  if (result->data == NULL) {
    result->error = ENOMEM;
  } else {
    memcpy(result->data, call->report.report, sizeof call->report.report);
    result->length = sizeof call->report.report;
  }
  free(call);
}

void tdx_extend_rtmr(const char *path, uint8_t index, const uint8_t digest[TDX_DIGEST_BYTES], uint32_t timeout_ms,
                     struct tdx_result *result) {
  struct device_call *call = new_call(path, "ioctl EXTEND_RTMR", result);
  if (call == NULL) return;
  call->is_extend = true;
  memcpy(call->extend.digest, digest, sizeof call->extend.digest);
  call->extend.index = index;
  if (run_call(call, timeout_ms, result)) free(call);
}
