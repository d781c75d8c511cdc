// Questions to the control plane: where a custom domain leads. The connection waits under its deadline.
#include <stdlib.h>
#include <string.h>

#include "connection.h"
#include "engine.h"

struct lookup {
  struct table_node node;
  struct connection *connection;
};

static void make_key(uint64_t number, uint8_t key[KEY_BYTES]) {
  memset(key, 0, KEY_BYTES);
  memcpy(key, &number, sizeof number);
}

static bool ask(struct connection *connection, uint64_t number) {
  struct control *control = &connection->worker->engine->control;
  char source[SOURCE_TEXT_BYTES];
  source_key_text(&connection->source, source);
  struct buffer *out = control_begin(control, EVENT_LOOKUP);
  buffer_put_uint(out, number, 8);
  buffer_put_uint(out, strlen(connection->server_name), 1);
  buffer_put(out, connection->server_name, strlen(connection->server_name));
  buffer_put_uint(out, strlen(source), 1);
  buffer_put(out, source, strlen(source));
  return control_end(control);
}

void lookup_start(struct connection *connection) {
  struct worker *worker = connection->worker;
  struct lookup *lookup = calloc(1, sizeof *lookup);
  // The number says which thread asks.
  uint64_t number = (worker->last_lookup + 1) * MAX_THREADS + worker->index;
  if (lookup == NULL || !ask(connection, number)) {
    free(lookup);
    return refuse_with_alert(connection, OUTCOME_INTERNAL_ERROR, ALERT_INTERNAL_ERROR);
  }
  worker->last_lookup++;
  make_key(number, lookup->node.key);
  lookup->connection = connection;
  table_add(&worker->lookups, &lookup->node);
  connection->opening->lookup = lookup;
  connection_enter(connection, STEP_LOOKUP, worker->engine->limits.lookup_us);
}

void lookup_cancel(struct connection *connection) {
  struct lookup *lookup = connection->opening->lookup;
  if (lookup == NULL) return;
  table_remove(&connection->worker->lookups, &lookup->node);
  free(lookup);
  connection->opening->lookup = NULL;
}

void lookup_found(struct worker *worker, uint64_t number, bool found, const uint8_t id[ID_BYTES], uint16_t port) {
  uint8_t key[KEY_BYTES];
  make_key(number, key);
  struct lookup *lookup = (struct lookup *)table_find(&worker->lookups, key);
  if (lookup == NULL) return;  // the client did not wait
  struct connection *connection = lookup->connection;
  lookup_cancel(connection);
  if (found) return connection_go_to(connection, id, port, MODE_PASSTHROUGH);
  refuse_with_alert(connection, OUTCOME_UNKNOWN_NAME, ALERT_UNRECOGNIZED_NAME);
}
