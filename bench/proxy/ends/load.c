// The client: so many connections, so many of them at once, so many requests on each, one after the other.
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ends.h"

#define EVENTS 256
#define MAX_HELLO 2048
// Whatever is measured takes seconds: who needs longer hangs.
#define LIMIT_S 120

struct greeting {
  const char *name;
  uint8_t bytes[MAX_HELLO + REQUEST_BYTES];  // a canned hello with the first request behind it
  size_t length;
};

struct slot {
  struct stream stream;
  bool connected, greeted;
  size_t requests_left;
  size_t to_send, sent;      // of the request, or of the canned hello and the request
  const uint8_t *sending;
  uint64_t answer_left, began_ns;
};

static struct {
  struct sockaddr_in address;
  enum speech speech;
  size_t connections_left, requests_each, done;
  uint64_t answer_bytes, bytes;
  bool hold;
  struct slot *unused;  // where who holds its connections opens the next one
  SSL_CTX *context;
  SSL_SESSION *session;  // to resume
  struct greeting *greetings;
  size_t greeting_count, next_greeting, resumed, failed;
  uint8_t request[REQUEST_BYTES];
  uint32_t *latencies_us;
  size_t running;
  int epoll_fd;
} load;

static void open_next(struct slot *slot);

static void note_session(const struct stream *stream) {
  if (stream->tls == NULL) return;
  if (SSL_session_reused(stream->tls)) load.resumed++;
  if (load.speech == SPEECH_RESUMED && load.session == NULL) load.session = SSL_get1_session(stream->tls);
}

static void finish(struct slot *slot) {
  note_session(&slot->stream);
  load.running--;
  if (load.hold) return open_next(load.unused++);
  stream_close(&slot->stream);
  open_next(slot);
}

static void fail(struct slot *slot) {
  load.failed++;
  stream_close(&slot->stream);
  load.running--;
  open_next(slot);
}

static void begin_request(struct slot *slot) {
  slot->sending = load.request;
  slot->to_send = REQUEST_BYTES;
  slot->sent = 0;
  slot->answer_left = load.answer_bytes;
  slot->began_ns = now_ns();
}

static void use_tls(struct slot *slot, const char *name) {
  SSL *tls = SSL_new(load.context);
  if (tls == NULL) die("SSL_new");
  SSL_set_fd(tls, slot->stream.fd);
  SSL_set_tlsext_host_name(tls, name);
  SSL_set_connect_state(tls);
  if (load.session != NULL) {
    SSL_SESSION *copy = SSL_SESSION_dup(load.session);  // a used one may not be used again
    SSL_set_session(tls, copy);
    SSL_SESSION_free(copy);
  }
  slot->stream.tls = tls;
}

static void open_next(struct slot *slot) {
  const int on = 1;
  if (load.connections_left == 0) return;
  load.connections_left--;
  load.running++;
  const struct greeting *greeting = &load.greetings[load.next_greeting++ % load.greeting_count];
  *slot = (struct slot){.stream.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), .requests_left = load.requests_each};
  if (slot->stream.fd < 0) die("socket");
  setsockopt(slot->stream.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (connect(slot->stream.fd, (struct sockaddr *)&load.address, sizeof load.address) < 0 && errno != EINPROGRESS) {
    die("connect");
  }
  begin_request(slot);
  if (load.speech == SPEECH_CANNED) {
    slot->sending = greeting->bytes;
    slot->to_send = greeting->length;
    slot->greeted = true;
  } else {
    use_tls(slot, greeting->name);
  }
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = slot};
  if (epoll_ctl(load.epoll_fd, EPOLL_CTL_ADD, slot->stream.fd, &event) < 0) die("epoll_ctl");
}

static ssize_t step(struct slot *slot) {
  if (!slot->greeted) {
    int done = stream_handshake(&slot->stream);
    slot->greeted = done == 1;
    return done == 0 ? STREAM_BROKEN : done;
  }
  if (slot->sent < slot->to_send) {
    ssize_t count = stream_write(&slot->stream, slot->sending + slot->sent, slot->to_send - slot->sent);
    if (count > 0) slot->sent += (size_t)count;
    return count;
  }
  ssize_t count = stream_discard(&slot->stream, slot->answer_left);
  if (count <= 0) return count == 0 ? STREAM_BROKEN : count;
  slot->answer_left -= (uint64_t)count;
  load.bytes += (uint64_t)count;
  return count;
}

static void go_on(struct slot *slot) {
  for (;;) {
    ssize_t result = step(slot);
    if (result == STREAM_AGAIN) return;
    if (result <= 0) return fail(slot);
    if (slot->answer_left > 0) continue;
    load.latencies_us[load.done++] = (uint32_t)((now_ns() - slot->began_ns) / 1000);
    if (--slot->requests_left == 0) return finish(slot);
    begin_request(slot);
  }
}

static void run(struct slot *slots, size_t at_once) {
  struct epoll_event events[EVENTS];
  for (size_t i = 0; i < at_once; i++) open_next(&slots[i]);
  while (load.running > 0) {
    int count = epoll_wait(load.epoll_fd, events, EVENTS, 1000 * LIMIT_S);
    if (count < 0 && errno != EINTR) die("epoll_wait");
    if (count == 0) die("nothing happens");
    for (int i = 0; i < count; i++) {
      struct slot *slot = events[i].data.ptr;
      if (slot->stream.fd >= 0 && slot->requests_left > 0) go_on(slot);
    }
  }
}

static void make_greetings(const char *argument) {
  char **names = names_read(argument, &load.greeting_count);
  load.greetings = calloc(load.greeting_count, sizeof *load.greetings);
  if (load.greetings == NULL) die("greetings");
  for (size_t i = 0; i < load.greeting_count; i++) {
    struct greeting *greeting = &load.greetings[i];
    greeting->name = names[i];
    greeting->length = hello_make(load.context, names[i], greeting->bytes, MAX_HELLO);
    memcpy(greeting->bytes + greeting->length, load.request, REQUEST_BYTES);
    greeting->length += REQUEST_BYTES;
  }
}

static int by_size(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return x < y ? -1 : x > y;
}

static uint32_t quantile(double share) {
  return load.done == 0 ? 0 : load.latencies_us[(size_t)((double)(load.done - 1) * share)];
}

static void tell(uint64_t began_ns) {
  double seconds = (double)(now_ns() - began_ns) / 1e9;
  qsort(load.latencies_us, load.done, sizeof *load.latencies_us, by_size);
  printf("{\"requests\":%zu,\"failed\":%zu,\"resumed\":%zu,\"bytes\":%llu,\"seconds\":%.6f,"
         "\"latencyUs\":{\"p50\":%u,\"p99\":%u,\"p999\":%u,\"max\":%u}}\n",
         load.done, load.failed, load.resumed, (unsigned long long)load.bytes, seconds, quantile(0.5), quantile(0.99),
         quantile(0.999), quantile(1));
  fflush(stdout);
}

// One connection before the clock runs, for a session to resume.
static void get_session(struct slot *slot) {
  size_t connections = load.connections_left, requests = load.requests_each;
  load.connections_left = load.requests_each = 1;
  run(slot, 1);
  if (load.session == NULL) die("no session to resume");
  load.connections_left = connections;
  load.requests_each = requests;
  load.done = load.resumed = load.bytes = 0;
}

static void parse(char **argv) {
  const char *speech = argv[3];
  load.address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1])),
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  load.speech = strcmp(speech, "canned") == 0 ? SPEECH_CANNED
                : strcmp(speech, "tls") == 0  ? SPEECH_TLS
                                              : SPEECH_RESUMED;
  load.connections_left = strtoull(argv[5], NULL, 10);
  load.requests_each = strtoull(argv[6], NULL, 10);
  load.answer_bytes = strtoull(argv[7], NULL, 10);
  for (size_t i = 0; i < 8; i++) load.request[i] = (uint8_t)(load.answer_bytes >> (56 - 8 * i));
}

int load_main(int argc, char **argv) {
  if (argc < 8) return 2;
  size_t at_once = strtoull(argv[4], NULL, 10);
  parse(argv);
  load.hold = argc > 8 && strcmp(argv[8], "hold") == 0;
  load.context = client_context();
  load.epoll_fd = epoll_create1(0);
  make_greetings(argv[2]);
  load.latencies_us = calloc(load.connections_left * load.requests_each, sizeof *load.latencies_us);
  struct slot *slots = calloc(load.hold ? at_once + load.connections_left : at_once, sizeof *slots);
  if (slots == NULL || load.latencies_us == NULL) die("memory");
  load.unused = slots + at_once;
  if (load.speech == SPEECH_RESUMED) get_session(slots);
  uint64_t began = now_ns();
  run(slots, at_once);
  tell(began);
  // Who holds its connections holds them until nobody listens to it any more.
  while (load.hold && read(STDIN_FILENO, load.request, 1) > 0) continue;
  return load.failed > 0 ? 1 : 0;
}
