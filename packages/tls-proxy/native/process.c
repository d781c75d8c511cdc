#include "process.h"

#include <grp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

// "nobody" and "nogroup" of Debian.
#define UNPRIVILEGED_ID 65534

void process_prepare(void) {
  // A terminal's Ctrl-C and a service manager's SIGTERM reach the control plane too: it stops us when it is ready.
  const int ignored[] = {SIGPIPE, SIGINT, SIGTERM, SIGHUP};
  const struct sigaction ignore = {.sa_handler = SIG_IGN};
  for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++) sigaction(ignored[i], &ignore, NULL);
  struct rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);  // refused: accepting pauses sooner
  }
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
