// The event loop: descriptors by epoll (edge-triggered), timers, and work put off to the end of a turn.
#ifndef DSTACK_PROXY_LOOP_H
#define DSTACK_PROXY_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>

// First member of what an event that was already fetched may still name: its memory is freed at the end of the turn.
struct garbage {
  struct garbage *next;
};

struct watch {
  int fd;  // -1: closed; events fetched before that are dropped
  void (*ready)(struct watch *watch, uint32_t events);
};

struct timer {
  uint64_t due_us;
  size_t place;  // in the heap, from 1; 0: not set
  void (*fire)(struct timer *timer);
};

struct task {
  struct task *next;
  bool queued;
  void (*run)(struct task *task);
};

struct loop {
  int epoll_fd;
  uint64_t now_us;  // monotonic, of this turn
  struct timer **heap;
  size_t timer_count, timer_capacity;
  struct task *first_task, **last_task;
  size_t task_count;
  struct garbage *garbage;
  bool stopped;
};

// False, with errno set, when there is no memory or no descriptor.
bool loop_init(struct loop *loop);
// No more than `timers` timers may ever be set at once: so that setting one cannot fail. False: no memory.
bool loop_reserve_timers(struct loop *loop, size_t timers);
void loop_free(struct loop *loop);
// One wait and what follows from it.
void loop_turn(struct loop *loop);

// False, with errno set, when the kernel refuses.
bool loop_watch(struct loop *loop, struct watch *watch, uint32_t events);
// Changes what it is watched for; what is there already is told anew. False, with errno set, when it was not watched.
bool loop_rewatch(struct loop *loop, struct watch *watch, uint32_t events);
// Stops watching it. False, with errno set, when it was not watched.
bool loop_unwatch(struct loop *loop, struct watch *watch);
// Closes the descriptor, which ends the watching.
void watch_close(struct watch *watch);

void timer_set(struct loop *loop, struct timer *timer, uint64_t due_us);
void timer_clear(struct loop *loop, struct timer *timer);

// Runs the task in the next turn, which then does not wait.
void loop_queue(struct loop *loop, struct task *task);
void loop_unqueue(struct loop *loop, struct task *task);
// Frees at the end of the turn what `garbage` is the first member of.
void loop_discard(struct loop *loop, struct garbage *garbage);

uint64_t monotonic_us(void);

#endif
