#include "mailbox.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct letter {
  struct letter *next;
  enum command command;
  size_t length;
  uint8_t bytes[];
};

static void mailbox_ready(struct watch *watch, uint32_t events);

bool mailbox_init(struct mailbox *mailbox, struct loop *loop,
                  void (*command)(struct mailbox *, enum command, struct cursor)) {
  *mailbox = (struct mailbox){
      .watch = {.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), .ready = mailbox_ready},
      .lock = PTHREAD_MUTEX_INITIALIZER,
      .command = command,
  };
  mailbox->last = &mailbox->first;
  return mailbox->watch.fd >= 0 && loop_watch(loop, &mailbox->watch, EPOLLIN);
}

bool mailbox_post(struct mailbox *mailbox, enum command command, struct cursor fields) {
  struct letter *letter = calloc(1, sizeof *letter + fields.left);
  if (letter == NULL) return false;
  letter->command = command;
  letter->length = fields.left;
  if (fields.left > 0) memcpy(letter->bytes, fields.at, fields.left);
  pthread_mutex_lock(&mailbox->lock);
  *mailbox->last = letter;
  mailbox->last = &letter->next;
  pthread_mutex_unlock(&mailbox->lock);
  eventfd_write(mailbox->watch.fd, 1);  // fails only when it is full, and the reader is woken all the same
  return true;
}

static struct letter *take_one(struct mailbox *mailbox) {
  pthread_mutex_lock(&mailbox->lock);
  struct letter *letter = mailbox->first;
  if (letter != NULL) mailbox->first = letter->next;
  if (mailbox->first == NULL) mailbox->last = &mailbox->first;
  pthread_mutex_unlock(&mailbox->lock);
  return letter;
}

static void mailbox_ready(struct watch *watch, uint32_t events) {
  struct mailbox *mailbox = (struct mailbox *)watch;
  struct letter *letter;
  eventfd_t count;
  (void)events;
  eventfd_read(watch->fd, &count);  // before the letters: one that comes meanwhile wakes us again
  while ((letter = take_one(mailbox)) != NULL) {
    mailbox->command(mailbox, letter->command, cursor_over(letter->bytes, letter->length));
    free(letter);
  }
}

void mailbox_free(struct mailbox *mailbox) {
  struct letter *letter;
  while ((letter = take_one(mailbox)) != NULL) free(letter);
  watch_close(&mailbox->watch);
}
