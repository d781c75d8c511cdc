#include "limited.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

// What the caller and the thread share. The last one to leave frees it.
struct task {
  int (*work)(void *data);
  void *data;
  int error;
  bool finished;
  bool left;
  pthread_cond_t done;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned threads_left;

static void free_task(struct task *task) {
  pthread_cond_destroy(&task->done);
  free(task);
}

static void *run(void *argument) {
  struct task *task = argument;
  int error = task->work(task->data);
  pthread_mutex_lock(&lock);
  task->error = error;
  task->finished = true;
  pthread_cond_signal(&task->done);
  bool left = task->left;
  if (left) threads_left--;
  pthread_mutex_unlock(&lock);
  if (left) {
    free(task->data);
    free_task(task);
  }
  return NULL;
}

static int start_thread(struct task *task) {
  pthread_attr_t attributes;
  int error = pthread_attr_init(&attributes);
  if (error != 0) return error;
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, 256 * 1024);
  // Signals are for Node's own threads.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  error = pthread_create(&thread, &attributes, run, task);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&attributes);
  return error;
}

static struct task *new_task(int (*work)(void *data), void *data) {
  struct task *task = calloc(1, sizeof *task);
  if (task == NULL) return NULL;
  task->work = work;
  task->data = data;
  pthread_condattr_t attributes;
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(&task->done, &attributes);
  pthread_condattr_destroy(&attributes);
  return task;
}

int run_limited(int (*work)(void *data), void *data, uint32_t timeout_ms) {
  pthread_mutex_lock(&lock);
  bool busy = threads_left > 0;
  pthread_mutex_unlock(&lock);
  if (busy) return EBUSY;

  struct timespec deadline;
  clock_gettime(CLOCK_MONOTONIC, &deadline);
  deadline.tv_sec += timeout_ms / 1000;
  deadline.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
  if (deadline.tv_nsec >= 1000000000) {
    deadline.tv_sec++;
    deadline.tv_nsec -= 1000000000;
  }
  struct task *task = new_task(work, data);
  if (task == NULL) return ENOMEM;
  int error = start_thread(task);
  if (error != 0) {
    free_task(task);
    return error;
  }
  pthread_mutex_lock(&lock);
  int waited = 0;
  while (!task->finished && waited == 0) waited = pthread_cond_timedwait(&task->done, &lock, &deadline);
  if (task->finished) {
    error = task->error;
  } else {
    error = LIMIT_PASSED;
    task->left = true;
    threads_left++;
  }
  bool left = task->left;
  pthread_mutex_unlock(&lock);
  if (!left) free_task(task);
  return error;
}
