// Waits for the ClientHello and keeps every byte, so that they can be handed on to TLS or to an app untouched.
#include <stdlib.h>
#include <string.h>

#include "connection.h"
#include "engine.h"

static void take_hello(struct connection *connection) {
  char name[MAX_NAME_BYTES + 1];
  const struct buffer *hello = &connection->opening->hello;
  if (!hello_parse(hello->bytes, hello->length, connection->worker->scratch, name)) {
    return refuse_with_alert(connection, OUTCOME_BAD_HELLO, ALERT_DECODE_ERROR);
  }
  if (name[0] != '\0') {
    connection->server_name = strdup(name);
    if (connection->server_name == NULL) {
      return refuse_with_alert(connection, OUTCOME_INTERNAL_ERROR, ALERT_INTERNAL_ERROR);
    }
  }
  connection_route(connection);
}

static void refuse_not_tls(struct connection *connection) {
  const struct opening *opening = connection->opening;
  // An HTTP request line begins with the name of a method, in capitals by the book.
  uint8_t letter = opening->hello.bytes[0] & 0xdf;
  if (letter >= 'A' && letter <= 'Z') return refuse_plain_http(connection);
  // RFC 8446 §5.1: a record of another type, or of another version. The header of an SSLv2 hello begins with a bit that no
  // record of TLS has.
  bool is_other_version = opening->scan.header_received > 1 || (opening->scan.header[0] & 0x80) != 0;
  refuse_with_alert(connection, OUTCOME_NOT_TLS,
                    is_other_version ? ALERT_PROTOCOL_VERSION : ALERT_UNEXPECTED_MESSAGE);
}

// Takes the PROXY header off the front, once it is whole. False: it is not, or there was something wrong with it.
static bool take_proxy_header(struct connection *connection) {
  struct opening *opening = connection->opening;
  struct buffer *hello = &opening->hello;
  struct proxy_header *header = &opening->spoken_for;
  enum proxy_header_result result = proxy_header_parse(hello->bytes, hello->length, header);
  if (result == PROXY_HEADER_MORE) return false;
  if (result == PROXY_HEADER_BAD) {
    refuse_silently(connection, OUTCOME_BAD_PROXY_HEADER);
    return false;
  }
  buffer_drop(hello, header->length);
  connection->is_from_balancer = false;
  if (!header->has_addresses) return true;  // a look whether we are there: counts for nobody
  opening->is_spoken_for = true;
  connection->source = (struct source){.address = header->source.address, .told_as_ipv6 = header->is_ipv6};
  if (connection_count_source(connection)) return true;
  connection_end(connection, OUTCOME_TOO_MANY_OF_SOURCE, true);
  return false;
}

static void take_bytes(struct connection *connection, size_t count) {
  struct worker *worker = connection->worker;
  struct opening *opening = connection->opening;
  struct buffer *hello = &opening->hello;
  // One deadline from accept, however slowly it trickles.
  if (hello->length == 0) {
    timer_set(&worker->loop, &connection->deadline, connection->accepted_us + worker->engine->limits.hello_us);
  }
  buffer_put(hello, worker->scratch, count);
  if (hello->failed) return refuse_with_alert(connection, OUTCOME_INTERNAL_ERROR, ALERT_INTERNAL_ERROR);
  if (connection->is_from_balancer) {
    if (!take_proxy_header(connection)) return;
    if (hello->length == 0) return;
    count = hello->length;
  }
  switch (hello_scan(&opening->scan, hello->bytes + hello->length - count, count)) {
    case HELLO_MORE:
      return;
    case HELLO_WHOLE:
      return take_hello(connection);
    case HELLO_BAD:
      return refuse_with_alert(connection, OUTCOME_BAD_HELLO, ALERT_DECODE_ERROR);
    case HELLO_NOT_TLS:
      return refuse_not_tls(connection);
  }
}

void first_bytes_read(struct connection *connection) {
  while (connection->step == STEP_HELLO) {
    const struct opening *opening = connection->opening;
    size_t room = MAX_HELLO_BYTES - (opening == NULL ? 0 : opening->hello.length);
    // Full, and the scan wants more still.
    if (room == 0) return refuse_with_alert(connection, OUTCOME_BAD_HELLO, ALERT_DECODE_ERROR);
    ssize_t count = end_read(connection->client, connection->worker->scratch, room);
    if (count == END_AGAIN) return;
    if (count <= 0) return connection_end(connection, OUTCOME_CLIENT_GONE, false);
    if (opening == NULL && !connection_make_opening(connection)) {
      return connection_end(connection, OUTCOME_INTERNAL_ERROR, true);
    }
    take_bytes(connection, (size_t)count);
  }
}
