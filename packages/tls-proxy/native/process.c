#include "process.h"

#include <grp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

// "nobody" and "nogroup" of Debian.
#define UNPRIVILEGED_ID 65534

// What any system lets a process open, where it does not say.
#define USUAL_DESCRIPTORS 1024

size_t process_prepare(void) {
  // A terminal's Ctrl-C and a service manager's SIGTERM reach the control plane too: it stops us when it is ready.
  const int ignored[] = {SIGPIPE, SIGINT, SIGTERM, SIGHUP};
  const struct sigaction ignore = {.sa_handler = SIG_IGN};
  for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++) sigaction(ignored[i], &ignore, NULL);
  struct rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) < 0) return USUAL_DESCRIPTORS;
  const struct rlimit most = {.rlim_cur = files.rlim_max, .rlim_max = files.rlim_max};
  return setrlimit(RLIMIT_NOFILE, &most) < 0 ? files.rlim_cur : most.rlim_cur;
}

bool process_confine(void) {
#ifdef __SANITIZE_ADDRESS__
  return true;  // the leak check at the end looks into our memory
#else
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return false;
  if (geteuid() == 0 && (setgroups(0, NULL) < 0 || setresgid(UNPRIVILEGED_ID, UNPRIVILEGED_ID, UNPRIVILEGED_ID) < 0 ||
                         setresuid(UNPRIVILEGED_ID, UNPRIVILEGED_ID, UNPRIVILEGED_ID) < 0)) {
    return false;
  }
  return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0;
#endif
}
