// What one client, one app and all together may take: limits.ts.
#ifndef DSTACK_PROXY_LIMITS_H
#define DSTACK_PROXY_LIMITS_H

#include "bytes.h"

struct limits {
  uint64_t first_byte_us;
  uint64_t hello_us;
  uint64_t handshake_us;
  uint64_t lookup_us;
  uint64_t connect_us;
  uint64_t idle_us;
  uint64_t half_closed_us;
  uint64_t total_us;  // 0: none
  uint32_t connections;
  uint32_t connections_per_app;
  uint32_t connections_per_source;
};

// Reads them in this order: times as milliseconds in 8 bytes, counts in 4.
bool limits_read(struct limits *limits, struct cursor *fields);

#endif
