// The stream to the control plane: whole frames in, to the thread of its loop, and whole frames out, from any thread;
// neither ever waited for.
#ifndef DSTACK_PROXY_CONTROL_H
#define DSTACK_PROXY_CONTROL_H

#include <pthread.h>
#include <stdatomic.h>

#include "bytes.h"
#include "loop.h"
#include "protocol.h"

struct control {
  struct watch watch;
  struct loop *loop;
  struct buffer in;
  pthread_mutex_t lock;  // of the next two
  struct buffer out;
  size_t frame_start;
  atomic_bool broken;
  // Gets a command and its fields. False: it cannot be right, and the stream is given up.
  bool (*command)(struct control *control, enum command command, struct cursor fields);
};

bool control_init(struct control *control, struct loop *loop, int fd,
                  bool (*command)(struct control *, enum command, struct cursor));
void control_free(struct control *control);

// Starts a frame; its fields are put into the buffer this gives. Other threads wait for its end.
struct buffer *control_begin(struct control *control, enum event event);
// False: too much is waiting for the control plane already, or there is no memory; the frame is dropped.
bool control_end(struct control *control);
// Sends what can be sent now.
void control_flush(struct control *control);

#endif
