#include "loop.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_PER_TURN 256
#define LONGEST_WAIT_MS 60000

uint64_t monotonic_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);  // cannot fail with this clock
  return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

bool loop_init(struct loop *loop) {
  *loop = (struct loop){.epoll_fd = epoll_create1(EPOLL_CLOEXEC), .now_us = monotonic_us()};
  loop->last_task = &loop->first_task;
  return loop->epoll_fd >= 0;
}

bool loop_reserve_timers(struct loop *loop, size_t timers) {
  loop->heap = calloc(timers + 1, sizeof *loop->heap);
  if (loop->heap == NULL) return false;
  loop->timer_capacity = timers;
  return true;
}

static void free_garbage(struct loop *loop) {
  while (loop->garbage != NULL) {
    struct garbage *next = loop->garbage->next;
    free(loop->garbage);
    loop->garbage = next;
  }
}

void loop_free(struct loop *loop) {
  free_garbage(loop);
  free(loop->heap);
  if (loop->epoll_fd >= 0) close(loop->epoll_fd);
}

// --- timers: a binary heap, the earliest at 1 ---

static void put(struct loop *loop, struct timer *timer, size_t place) {
  loop->heap[place] = timer;
  timer->place = place;
}

static void sift_up(struct loop *loop, struct timer *timer, size_t place) {
  while (place > 1 && loop->heap[place / 2]->due_us > timer->due_us) {
    put(loop, loop->heap[place / 2], place);
    place /= 2;
  }
  put(loop, timer, place);
}

static void sift_down(struct loop *loop, struct timer *timer, size_t place) {
  for (size_t child; (child = 2 * place) <= loop->timer_count; place = child) {
    if (child < loop->timer_count && loop->heap[child + 1]->due_us < loop->heap[child]->due_us) child++;
    if (loop->heap[child]->due_us >= timer->due_us) break;
    put(loop, loop->heap[child], place);
  }
  put(loop, timer, place);
}

void timer_clear(struct loop *loop, struct timer *timer) {
  size_t place = timer->place;
  if (place == 0) return;
  timer->place = 0;
  struct timer *last = loop->heap[loop->timer_count--];
  if (last == timer) return;
  sift_up(loop, last, place);
  sift_down(loop, last, last->place);
}

void timer_set(struct loop *loop, struct timer *timer, uint64_t due_us) {
  timer_clear(loop, timer);
  if (loop->timer_count == loop->timer_capacity) abort();  // a broken promise of loop_init's caller
  timer->due_us = due_us;
  loop->timer_count++;
  sift_up(loop, timer, loop->timer_count);
}

static void fire_timers(struct loop *loop) {
  while (loop->timer_count > 0 && loop->heap[1]->due_us <= loop->now_us) {
    struct timer *timer = loop->heap[1];
    timer_clear(loop, timer);
    timer->fire(timer);
  }
}

// --- descriptors ---

bool loop_watch(struct loop *loop, struct watch *watch, uint32_t events) {
  struct epoll_event event = {.events = events, .data.ptr = watch};
  return epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, watch->fd, &event) == 0;
}

bool loop_rewatch(struct loop *loop, struct watch *watch, uint32_t events) {
  struct epoll_event event = {.events = events, .data.ptr = watch};
  return epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, watch->fd, &event) == 0;
}

bool loop_unwatch(struct loop *loop, struct watch *watch) {
  return epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL) == 0;
}

void watch_close(struct watch *watch) {
  if (watch->fd >= 0) close(watch->fd);  // an error says nothing that could be acted on
  watch->fd = -1;
}

// --- turns ---

void loop_queue(struct loop *loop, struct task *task) {
  if (task->queued) return;
  task->queued = true;
  task->next = NULL;
  *loop->last_task = task;
  loop->last_task = &task->next;
  loop->task_count++;
}

void loop_unqueue(struct loop *loop, struct task *task) {
  if (!task->queued) return;
  struct task **at = &loop->first_task;
  while (*at != task) at = &(*at)->next;
  *at = task->next;
  if (loop->last_task == &task->next) loop->last_task = at;
  task->queued = false;
  loop->task_count--;
}

// Those that are queued while these run have their turn next time.
static void run_tasks(struct loop *loop) {
  for (size_t left = loop->task_count; left > 0 && loop->first_task != NULL; left--) {
    struct task *task = loop->first_task;
    loop_unqueue(loop, task);
    task->run(task);
  }
}

void loop_discard(struct loop *loop, struct garbage *garbage) {
  garbage->next = loop->garbage;
  loop->garbage = garbage;
}

static int wait_ms(const struct loop *loop) {
  if (loop->first_task != NULL) return 0;
  if (loop->timer_count == 0) return LONGEST_WAIT_MS;
  uint64_t due = loop->heap[1]->due_us, now = monotonic_us();
  if (due <= now) return 0;
  uint64_t ms = (due - now + 999) / 1000;
  return ms > LONGEST_WAIT_MS ? LONGEST_WAIT_MS : (int)ms;
}

void loop_turn(struct loop *loop) {
  struct epoll_event events[EVENTS_PER_TURN];
  int count = epoll_wait(loop->epoll_fd, events, EVENTS_PER_TURN, wait_ms(loop));
  if (count < 0 && errno != EINTR) abort();  // only a bug can be the reason
  loop->now_us = monotonic_us();
  run_tasks(loop);
  for (int i = 0; i < count; i++) {
    struct watch *watch = events[i].data.ptr;
    if (watch->fd >= 0) watch->ready(watch, events[i].events);
  }
  fire_timers(loop);
  free_garbage(loop);
}
