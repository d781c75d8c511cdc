// What the control plane is told: each connection when it is over, and how many there are.
#include <string.h>

#include "connection.h"
#include "engine.h"

// Counts are told at once, and not again within this time.
#define COUNTS_INTERVAL_US 20000

static void put_text(struct buffer *out, const char *text) {
  size_t length = text == NULL ? 0 : strlen(text);
  buffer_put_uint(out, length, 1);
  buffer_put(out, text, length);
}

static void put_optional_id(struct buffer *out, bool is_known, const uint8_t *id) {
  buffer_put_uint(out, is_known, 1);
  if (is_known) buffer_put(out, id, ID_BYTES);
}

// What `readFacts` of ../src/native/events.ts reads.
static void put_facts(struct buffer *out, const struct connection *connection, uint64_t now_us) {
  char source[SOURCE_TEXT_BYTES];
  source_text(&connection->source, source);
  put_text(out, source);
  put_text(out, connection->server_name);
  buffer_put_uint(out, connection->mode, 1);
  put_optional_id(out, connection->mode != MODE_NONE, connection->backends[0].app);
  put_optional_id(out, connection->is_connected, connection->backends[0].instance);
  buffer_put_uint(out, now_us - connection->accepted_us, 8);
  buffer_put_uint(out, connection->to_app.bytes, 8);
  buffer_put_uint(out, connection->to_client.bytes, 8);
}

// Dropped when the control plane is far behind.
static void send_report(struct engine *engine, const struct connection *connection, enum outcome outcome) {
  struct buffer *out = control_begin(&engine->control, EVENT_REPORT);
  buffer_put_uint(out, outcome, 1);
  put_facts(out, connection, engine->loop.now_us);
  buffer_put_uint(out, connection->handshake_us, 8);
  buffer_put_uint(out, connection->connect_us, 8);
  control_end(&engine->control);
}

void report_connection(struct connection *connection, enum outcome outcome) {
  struct engine *engine = connection->engine;
  if (connection->is_reported) return;
  connection->is_reported = true;
  engine->open--;
  engine->open_changed = true;
  if (connection->app_count != NULL) counts_leave(&engine->apps, connection->app_count);
  if (connection->instance_count != NULL) counts_leave(&engine->instances, connection->instance_count);
  connection->app_count = connection->instance_count = NULL;
  report_counts_now(engine);  // first: who reads the report finds that the connection counts no more
  send_report(engine, connection, outcome);
}

void report_turned_away(struct engine *engine, const struct source *source, enum outcome outcome) {
  const struct connection nothing = {.source = *source, .accepted_us = engine->loop.now_us};
  send_report(engine, &nothing, outcome);
}

void report_open(struct engine *engine, uint64_t number, size_t most) {
  struct buffer *out = control_begin(&engine->control, EVENT_CONNECTIONS);
  buffer_put_uint(out, number, 8);
  const struct connection *connection = engine->connections;
  for (; connection != NULL && most > 0; connection = connection->next) {
    if (connection->is_reported) continue;  // only reads its refusal
    buffer_put_uint(out, connection->id, 8);
    buffer_put_uint(out, connection->step, 1);
    put_facts(out, connection, engine->loop.now_us);
    most--;
  }
  if (control_end(&engine->control)) return;
  // Too long for what may wait: then none.
  buffer_put_uint(control_begin(&engine->control, EVENT_CONNECTIONS), number, 8);
  control_end(&engine->control);
}

// Each change: 1, an id, what is open of it now. 0 ends them. Those in a frame that is dropped are told again when the
// count changes again.
static void put_changes(struct buffer *out, struct counts *counts) {
  uint8_t id[KEY_BYTES];
  uint32_t open;
  while (counts_next_change(counts, id, &open)) {
    buffer_put_uint(out, 1, 1);
    buffer_put(out, id, ID_BYTES);
    buffer_put_uint(out, open, 4);
  }
  buffer_put_uint(out, 0, 1);
}

void report_counts_now(struct engine *engine) {
  struct buffer *out = control_begin(&engine->control, EVENT_COUNTS);
  buffer_put_uint(out, engine->open, 4);
  put_changes(out, &engine->apps);
  put_changes(out, &engine->instances);
  control_end(&engine->control);
  engine->open_changed = false;
  engine->counts_told_us = engine->loop.now_us;
  timer_clear(&engine->loop, &engine->counts_timer);
}

void report_counts(struct engine *engine) {
  if (!engine->open_changed && engine->apps.changed == NULL && engine->instances.changed == NULL) return;
  uint64_t due = engine->counts_told_us + COUNTS_INTERVAL_US;
  if (engine->loop.now_us >= due) return report_counts_now(engine);
  if (engine->counts_timer.place == 0) timer_set(&engine->loop, &engine->counts_timer, due);
}
