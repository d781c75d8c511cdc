#include <stdio.h>
#include <string.h>

#include "connection.h"
#include "engine.h"
#include "tls.h"

// How long a refused client may take to read its refusal, and what it may still send meanwhile.
#define LINGER_US 1000000
#define MAX_LINGER_BYTES (256u << 10)

#define PAGE_BYTES 512

// Status, kind of text, length, text.
static const char http_answer[] =
    "HTTP/1.1 %s\r\nContent-Type: text/%s; charset=utf-8\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s";
static const char plain_http_page[] =
    "<!doctype html><title>400 Bad Request</title><p>This port speaks HTTPS. Use an https:// address.</p>\n";
static const char bad_gateway_text[] = "The app does not answer on this port now.\n";

static void linger(struct connection *connection, enum outcome outcome) {
  report_connection(connection, outcome);
  // All of it is in the socket, as a refusal is the first that is sent, or it is lost.
  if (connection->client->broken || !end_shut(connection->client)) return connection_end(connection, outcome, false);
  connection_enter(connection, STEP_LINGER, LINGER_US);
  refuse_linger(connection);
}

void refuse_linger(struct connection *connection) {
  struct end *client = connection->client;
  size_t *lingered = &connection->opening->lingered;
  while (*lingered < MAX_LINGER_BYTES && client->can_read) {
    ssize_t count = recv(client->watch.fd, connection->worker->scratch, SCRATCH_BYTES, 0);
    if (count <= 0) break;
    *lingered += (size_t)count;
  }
  // Whether it is dry or over, epoll has said: an end, and an error, come with a flag that stays.
  bool is_over = client->hung_up || client->broken || *lingered >= MAX_LINGER_BYTES;
  if (is_over) connection_end(connection, OUTCOME_FINISHED, false);
}

void refuse_silently(struct connection *connection, enum outcome outcome) { linger(connection, outcome); }

void refuse_with_alert(struct connection *connection, enum outcome outcome, enum alert alert) {
  const uint8_t record[] = {21, 3, 3, 0, 2, 2, (uint8_t)alert};
  end_write_raw(connection->client, record, sizeof record, SEND_NOW);  // a client that is gone is found out by linger()
  linger(connection, outcome);
}

void refuse_plain_http(struct connection *connection) {
  char page[PAGE_BYTES];
  const char *text = plain_http_page;
  int length = snprintf(page, sizeof page, http_answer, "400 Bad Request", "html", strlen(text), text);
  end_write_raw(connection->client, (const uint8_t *)page, (size_t)length, SEND_NOW);
  linger(connection, OUTCOME_PLAIN_HTTP);
}

void refuse_with_bad_gateway(struct connection *connection) {
  char page[PAGE_BYTES];
  const char *text = bad_gateway_text;
  int length = snprintf(page, sizeof page, http_answer, "502 Bad Gateway", "plain", strlen(text), text);
  if (tls_speaks_http1(connection->client)) tls_write(connection->client, (const uint8_t *)page, (size_t)length);
  tls_notify_end(connection->client);
  linger(connection, OUTCOME_CONNECT_FAILED);
}
