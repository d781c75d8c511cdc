#include <errno.h>

#include "operations.h"

#define NAME(code) \
  case code:       \
    return #code

// The names Node gives to system errors. glibc's strerrorname_np does not exist everywhere.
const char *tdx_errno_name(int error) {
  switch (error) {
    NAME(EACCES);
    NAME(EAFNOSUPPORT);
    NAME(EBADF);
    NAME(EBUSY);
    NAME(ECANCELED);
    NAME(ECONNREFUSED);
    NAME(ECONNRESET);
    NAME(EFAULT);
    NAME(EHOSTUNREACH);
    NAME(EINTR);
    NAME(EINVAL);
    NAME(EIO);
    NAME(EISDIR);
    NAME(ELOOP);
    NAME(EMFILE);
    NAME(EMSGSIZE);
    NAME(ENFILE);
    NAME(ENODEV);
    NAME(ENOENT);
    NAME(ENOMEM);
    NAME(ENOTCONN);
    NAME(ENOTDIR);
    NAME(ENOTTY);
    NAME(ENXIO);
    NAME(EOPNOTSUPP);
    NAME(EPERM);
    NAME(EPIPE);
    NAME(EPROTO);
    NAME(EROFS);
    NAME(ETIMEDOUT);
  }
  return "EUNKNOWN";
}
