// A small web app for one thread: `/` is a page, `/quote?nonce=<hex>` asks the guest agent over its unix socket
// for a TDX quote over the nonce and passes the answer on. Linked statically, it is the whole container image.
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <netinet/in.h>
#include <unistd.h>

enum { PORT = 80, MAX_REQUEST = 8192, MAX_NONCE = 128, MAX_ANSWER = 1 << 20, TIMEOUT_S = 30 };

static const char *SOCKET_PATH = "/var/run/tappd.sock";

static int write_all(int fd, const char *data, size_t length) {
  while (length > 0) {
    ssize_t n = write(fd, data, length);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return -1;
    data += n;
    length -= (size_t)n;
  }
  return 0;
}

static void set_timeouts(int fd) {
  struct timeval limit = {.tv_sec = TIMEOUT_S};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

static void answer(int fd, const char *status, const char *type, const char *body, size_t length) {
  char head[256];
  int n = snprintf(head, sizeof head,
                   "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n", status,
                   type, length);
  if (write_all(fd, head, (size_t)n) == 0) write_all(fd, body, length);
}

static void answer_text(int fd, const char *status, const char *text) {
  answer(fd, status, "text/plain", text, strlen(text));
}

// Asks tappd; the caller frees the answer, headers included. NULL when tappd cannot be reached.
static char *ask_tappd(const char *nonce, size_t *length) {
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  if (fd < 0) return NULL;
  set_timeouts(fd);
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strncpy(address.sun_path, SOCKET_PATH, sizeof address.sun_path - 1);
  char body[MAX_NONCE + 32], request[MAX_NONCE + 256];
  int body_length = snprintf(body, sizeof body, "{\"report_data\":\"%s\"}", nonce);
  int request_length = snprintf(request, sizeof request,
                                "POST /prpc/Tappd.TdxQuote?json HTTP/1.1\r\nHost: tappd\r\n"
                                "Content-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
                                body_length, body);
  char *buffer = malloc(MAX_ANSWER + 1);
  size_t used = 0;
  int ok = buffer != NULL && connect(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
           write_all(fd, request, (size_t)request_length) == 0;
  while (ok && used < MAX_ANSWER) {
    ssize_t n = read(fd, buffer + used, MAX_ANSWER - used);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) ok = 0;
    if (n <= 0) break;
    used += (size_t)n;
  }
  close(fd);
  if (!ok) {
    free(buffer);
    return NULL;
  }
  buffer[used] = 0;
  *length = used;
  return buffer;
}

static void serve_quote(int fd, const char *query) {
  const char *nonce = strncmp(query, "nonce=", 6) == 0 ? query + 6 : NULL;
  size_t digits = nonce == NULL ? 0 : strspn(nonce, "0123456789abcdefABCDEF");
  if (digits == 0 || digits > MAX_NONCE || digits % 2 != 0 || nonce[digits] != 0) {
    answer_text(fd, "400 Bad Request", "ask for /quote?nonce=<up to 64 bytes of hex>\n");
    return;
  }
  size_t length = 0;
  char *reply = ask_tappd(nonce, &length);
  char *body = reply == NULL ? NULL : strstr(reply, "\r\n\r\n");
  if (body == NULL) {
    answer_text(fd, "502 Bad Gateway", "tappd does not answer; is /var/run/tappd.sock mounted?\n");
  } else {
    body += 4;
    int good = strncmp(reply, "HTTP/1.1 200", 12) == 0;
    answer(fd, good ? "200 OK" : "502 Bad Gateway", "application/json", body, length - (size_t)(body - reply));
  }
  free(reply);
}

static const char PAGE[] =
    "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>hello from the CVM</title>"
    "<h1>hello from the CVM</h1><p>This page is served by a container inside a confidential VM. "
    "<a href=\"/quote?nonce=00ff\">Ask for a quote</a> over a nonce of your own and verify it.</p></html>\n";

static void serve(int fd) {
  char request[MAX_REQUEST + 1];
  size_t used = 0;
  request[0] = 0;
  while (used < MAX_REQUEST && strstr(request, "\r\n\r\n") == NULL) {
    ssize_t n = read(fd, request + used, MAX_REQUEST - used);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    used += (size_t)n;
    request[used] = 0;
  }
  char method[8], target[512];
  if (sscanf(request, "%7s %511s", method, target) != 2 || strcmp(method, "GET") != 0) {
    answer_text(fd, "405 Method Not Allowed", "only GET is served\n");
    return;
  }
  char *query = strchr(target, '?');
  if (query != NULL) *query++ = 0;
  printf("GET %s\n", target);
  if (strcmp(target, "/") == 0) {
    answer(fd, "200 OK", "text/html", PAGE, sizeof PAGE - 1);
  } else if (strcmp(target, "/quote") == 0) {
    serve_quote(fd, query == NULL ? "" : query);
  } else {
    answer_text(fd, "404 Not Found", "try / or /quote?nonce=00ff\n");
  }
}

static void stop(int signal) {
  (void)signal;
  _exit(0);
}

int main(void) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  signal(SIGPIPE, SIG_IGN);
  signal(SIGTERM, stop); // PID 1 of a container has no default action
  signal(SIGINT, stop);
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  int yes = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr.s_addr = htonl(INADDR_ANY)};
  if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 64) != 0) {
    perror("hello: cannot listen on port 80");
    return 1;
  }
  printf("hello is serving on port %d\n", PORT);
  for (;;) {
    int fd = accept(listener, NULL, NULL);
    if (fd < 0) continue;
    set_timeouts(fd);
    serve(fd);
    close(fd);
  }
}
