#include <errno.h>

#include "operations.h"

#define NAME(code) \
  case code:       \
    return #code

// The names Node gives to system errors. glibc's strerrorname_np does not exist everywhere.
const char *tdx_errno_name(int error) {
  switch (error) {
    NAME(E2BIG);
    NAME(EACCES);
    NAME(EADDRINUSE);
    NAME(EADDRNOTAVAIL);
    NAME(EAFNOSUPPORT);
    NAME(EAGAIN);
    NAME(EALREADY);
    NAME(EBADF);
    NAME(EBUSY);
    NAME(ECANCELED);
    NAME(ECONNABORTED);
    NAME(ECONNREFUSED);
    NAME(ECONNRESET);
    NAME(EEXIST);
    NAME(EFAULT);
    NAME(EFBIG);
    NAME(EHOSTUNREACH);
    NAME(EINPROGRESS);
    NAME(EINTR);
    NAME(EINVAL);
    NAME(EIO);
    NAME(EISCONN);
    NAME(EISDIR);
    NAME(ELOOP);
    NAME(EMFILE);
    NAME(EMSGSIZE);
    NAME(ENAMETOOLONG);
    NAME(ENETDOWN);
    NAME(ENETUNREACH);
    NAME(ENFILE);
    NAME(ENOBUFS);
    NAME(ENODATA);
    NAME(ENODEV);
    NAME(ENOENT);
    NAME(ENOLCK);
    NAME(ENOMEM);
    NAME(ENOPROTOOPT);
    NAME(ENOSPC);
    NAME(ENOSYS);
    NAME(ENOTCONN);
    NAME(ENOTDIR);
    NAME(ENOTTY);
    NAME(ENXIO);
    NAME(EOPNOTSUPP);
    NAME(EOVERFLOW);
    NAME(EPERM);
    NAME(EPIPE);
    NAME(EPROTO);
    NAME(EPROTONOSUPPORT);
    NAME(ERANGE);
    NAME(EREMOTEIO);
    NAME(EROFS);
    NAME(ESTALE);
    NAME(ETIMEDOUT);
    NAME(ETXTBSY);
  }
  return "EUNKNOWN";
}
