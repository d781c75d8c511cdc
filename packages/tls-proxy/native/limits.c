#include "limits.h"

// Whatever is longer means the same: the machine will not be up so long.
#define LONGEST_MS (UINT64_C(100) * 365 * 24 * 3600 * 1000)
// More connections than any machine has descriptors for.
#define MAX_CONNECTIONS 10000000

static uint64_t read_time(struct cursor *fields) {
  uint64_t ms = cursor_uint(fields, 8);
  return (ms < LONGEST_MS ? ms : LONGEST_MS) * 1000;
}

static uint32_t read_count(struct cursor *fields) {
  uint32_t count = (uint32_t)cursor_uint(fields, 4);
  return count < MAX_CONNECTIONS ? count : MAX_CONNECTIONS;
}

bool limits_read(struct limits *limits, struct cursor *fields) {
  limits->first_byte_us = read_time(fields);
  limits->hello_us = read_time(fields);
  limits->handshake_us = read_time(fields);
  limits->lookup_us = read_time(fields);
  limits->connect_us = read_time(fields);
  limits->idle_us = read_time(fields);
  limits->half_closed_us = read_time(fields);
  limits->total_us = read_time(fields);
  limits->connections = read_count(fields);
  limits->connections_per_app = read_count(fields);
  limits->connections_per_source = read_count(fields);
  return !fields->failed;
}
