#include "control.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEADER_BYTES 4
#define READ_BYTES 65536
// What may wait for a control plane that does not read. Beyond, reports are lost; connections never wait for it.
#define MAX_WAITING_BYTES (16u << 20)

static void control_ready(struct watch *watch, uint32_t events);

bool control_init(struct control *control, struct loop *loop, int fd,
                  bool (*command)(struct control *, enum command, struct cursor)) {
  *control = (struct control){
      .watch = {.fd = fd, .ready = control_ready},
      .loop = loop,
      .lock = PTHREAD_MUTEX_INITIALIZER,
      .in = {.most = HEADER_BYTES + MAX_FRAME_BYTES + READ_BYTES},
      .out = {.most = MAX_WAITING_BYTES},
      .command = command,
  };
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) return false;
  return loop_watch(loop, &control->watch, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
}

void control_free(struct control *control) {
  watch_close(&control->watch);
  buffer_free(&control->in);
  buffer_free(&control->out);
}

static void give_up(struct control *control) {
  control->broken = true;
  control->loop->stopped = true;
}

// Hands over every whole frame there is.
static void take_frames(struct control *control) {
  size_t done = 0;
  while (!control->broken) {
    struct cursor cursor = cursor_over(control->in.bytes + done, control->in.length - done);
    size_t length = (size_t)cursor_uint(&cursor, HEADER_BYTES);
    if (cursor.failed) break;
    if (length == 0 || length > MAX_FRAME_BYTES) return give_up(control);
    if (cursor.left < length) break;
    struct cursor fields = cursor_over(cursor.at, length);
    enum command command = (enum command)cursor_uint(&fields, 1);
    done += HEADER_BYTES + length;
    if (!control->command(control, command, fields)) return give_up(control);
  }
  if (done > 0) buffer_drop(&control->in, done);
}

static void control_ready(struct watch *watch, uint32_t events) {
  struct control *control = (struct control *)watch;
  (void)events;
  for (;;) {
    uint8_t *end = buffer_grow(&control->in, READ_BYTES);
    if (end == NULL) return give_up(control);
    ssize_t count = recv(watch->fd, end, READ_BYTES, 0);
    control->in.length -= READ_BYTES - (count > 0 ? (size_t)count : 0);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) break;
    if (count <= 0) return give_up(control);  // the control plane is gone, and we with it
    take_frames(control);
    if (control->broken) return;
  }
  control_flush(control);
}

struct buffer *control_begin(struct control *control, enum event event) {
  pthread_mutex_lock(&control->lock);
  control->frame_start = control->out.length;
  buffer_put_uint(&control->out, 0, HEADER_BYTES);
  buffer_put_uint(&control->out, event, 1);
  return &control->out;
}

static bool finish_frame(struct control *control) {
  struct buffer *out = &control->out;
  if (out->failed) {
    out->length = control->frame_start;
    out->failed = false;
    return false;
  }
  size_t length = out->length - control->frame_start - HEADER_BYTES;
  for (size_t i = 0; i < HEADER_BYTES; i++) {
    out->bytes[control->frame_start + i] = (uint8_t)(length >> (8 * (HEADER_BYTES - 1 - i)));
  }
  return true;
}

bool control_end(struct control *control) {
  bool good = finish_frame(control);
  pthread_mutex_unlock(&control->lock);
  return good;
}

void control_flush(struct control *control) {
  bool goes_on = true;
  pthread_mutex_lock(&control->lock);
  while (goes_on && control->out.length > 0 && !control->broken) {
    ssize_t count = send(control->watch.fd, control->out.bytes, control->out.length, MSG_NOSIGNAL);
    if (count >= 0) buffer_drop(&control->out, (size_t)count);
    else if (errno == EAGAIN) goes_on = false;
    else if (errno != EINTR) control->broken = true;
  }
  pthread_mutex_unlock(&control->lock);
}
