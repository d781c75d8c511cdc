// What the control plane is told: each connection when it is over, and how many there are.
#include <string.h>

#include "connection.h"
#include "engine.h"

// What is new is told at once, and what comes within this time after it together.
#define REPORT_INTERVAL_US 100000
// So many reports are told even earlier.
#define FULL_REPORTS_BYTES (64u << 10)

static void put_text(struct buffer *out, const char *text) {
  size_t length = text == NULL ? 0 : strlen(text);
  buffer_put_uint(out, length, 1);
  buffer_put(out, text, length);
}

static void put_optional_id(struct buffer *out, const uint8_t *id) {
  buffer_put_uint(out, id != NULL, 1);
  if (id != NULL) buffer_put(out, id, ID_BYTES);
}

// NULL: not known. An app that has too many connections is known, and does not count this one.
static const uint8_t *app_of(const struct connection *connection) {
  if (connection->app_count != NULL) return connection->app_count->node.key;
  return connection->mode == MODE_NONE ? NULL : connection->opening->backends[0].app;
}

// What `readFacts` of ../src/native/events.ts reads.
static void put_facts(struct buffer *out, const struct connection *connection, uint64_t now_us) {
  char source[SOURCE_TEXT_BYTES];
  source_text(&connection->source, source);
  put_text(out, source);
  put_text(out, connection->server_name);
  buffer_put_uint(out, connection->mode, 1);
  put_optional_id(out, app_of(connection));
  put_optional_id(out, connection->instance_count == NULL ? NULL : connection->instance_count->node.key);
  buffer_put_uint(out, now_us - connection->accepted_us, 8);
  buffer_put_uint(out, connection->to_app.bytes, 8);
  buffer_put_uint(out, connection->to_client.bytes, 8);
}

// Reports go together: to be woken for each would cost the control plane as much as the connection has cost us.
static void put_report(struct worker *worker, const struct connection *connection, enum outcome outcome) {
  struct buffer *out = &worker->reports;
  buffer_put_uint(out, outcome, 1);
  put_facts(out, connection, worker->loop.now_us);
  buffer_put_uint(out, connection->handshake_us, 8);
  buffer_put_uint(out, connection->connect_us, 8);
}

static void tell_if_full(struct worker *worker) {
  if (worker->reports.failed || worker->reports.length > FULL_REPORTS_BYTES) report_now(worker);
}

// Dropped when the control plane is far behind.
static void send_reports(struct worker *worker) {
  struct buffer *reports = &worker->reports;
  if (reports->length > 0 && !reports->failed) {
    buffer_put(control_begin(&worker->engine->control, EVENT_REPORTS), reports->bytes, reports->length);
    control_end(&worker->engine->control);
  }
  reports->length = 0;  // the memory stays for the next ones
  reports->failed = false;
}

void report_connection(struct connection *connection, enum outcome outcome) {
  struct worker *worker = connection->worker;
  if (connection->is_reported) return;
  put_report(worker, connection, outcome);  // while its counts say of whom it is
  connection->is_reported = true;
  worker->engine->open--;
  worker->engine->open_changed = true;
  if (connection->app_count != NULL) counts_leave(&worker->engine->apps, connection->app_count);
  if (connection->instance_count != NULL) counts_leave(&worker->engine->instances, connection->instance_count);
  connection->app_count = connection->instance_count = NULL;
  tell_if_full(worker);
}

void report_turned_away(struct worker *worker, const struct source *source, enum outcome outcome) {
  const struct connection nothing = {.source = *source, .accepted_us = worker->loop.now_us};
  put_report(worker, &nothing, outcome);
  tell_if_full(worker);
}

void report_open(struct worker *worker, uint64_t number, size_t most) {
  struct buffer *out = control_begin(&worker->engine->control, EVENT_CONNECTIONS);
  buffer_put_uint(out, number, 8);
  const struct connection *connection = worker->connections;
  for (; connection != NULL && most > 0; connection = connection->next) {
    if (connection->is_reported) continue;  // only reads its refusal
    buffer_put_uint(out, connection->id, 8);
    buffer_put_uint(out, connection->step, 1);
    put_facts(out, connection, worker->loop.now_us);
    most--;
  }
  if (control_end(&worker->engine->control)) return;
  // Too long for what may wait: then none.
  buffer_put_uint(control_begin(&worker->engine->control, EVENT_CONNECTIONS), number, 8);
  control_end(&worker->engine->control);
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

static void send_counts(struct worker *worker) {
  struct buffer *out = control_begin(&worker->engine->control, EVENT_COUNTS);
  worker->engine->open_changed = false;  // before it is read: a change meanwhile is told later
  buffer_put_uint(out, worker->engine->open, 4);
  put_changes(out, &worker->engine->apps);
  put_changes(out, &worker->engine->instances);
  control_end(&worker->engine->control);
}

static bool counts_changed(struct worker *worker) {
  struct engine *engine = worker->engine;
  return engine->open_changed || counts_have_changed(&engine->apps) || counts_have_changed(&engine->instances);
}

void report_now(struct worker *worker) {
  // First: who reads a report finds that the connection counts no more.
  if (counts_changed(worker)) send_counts(worker);
  send_reports(worker);
  worker->reported_us = worker->loop.now_us;
  timer_clear(&worker->loop, &worker->report_timer);
}

void report_soon(struct worker *worker) {
  if (!counts_changed(worker) && worker->reports.length == 0) return;
  uint64_t due = worker->reported_us + REPORT_INTERVAL_US;
  if (worker->loop.now_us >= due) return report_now(worker);
  if (worker->report_timer.place == 0) timer_set(&worker->loop, &worker->report_timer, due);
}
