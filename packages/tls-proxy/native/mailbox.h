// Commands from one thread to another: whole frames, in the order they were posted.
#ifndef DSTACK_PROXY_MAILBOX_H
#define DSTACK_PROXY_MAILBOX_H

#include <pthread.h>

#include "bytes.h"
#include "loop.h"
#include "protocol.h"

struct letter;

struct mailbox {
  struct watch watch;  // of an eventfd: first member
  pthread_mutex_t lock;
  struct letter *first, **last;
  // Gets each command in the thread of the loop.
  void (*command)(struct mailbox *mailbox, enum command command, struct cursor fields);
};

// False, with errno set, when there is no descriptor.
bool mailbox_init(struct mailbox *mailbox, struct loop *loop,
                  void (*command)(struct mailbox *, enum command, struct cursor));
// From any thread. False: no memory.
bool mailbox_post(struct mailbox *mailbox, enum command command, struct cursor fields);
// When nobody posts any more.
void mailbox_free(struct mailbox *mailbox);

#endif
