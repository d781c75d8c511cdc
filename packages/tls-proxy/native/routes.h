// The routing table: which names are ours, which ports are open, and where apps and instances are.
#ifndef DSTACK_PROXY_ROUTES_H
#define DSTACK_PROXY_ROUTES_H

#include <netinet/in.h>
#include <pthread.h>

#include "bytes.h"
#include "name.h"
#include "protocol.h"
#include "table.h"

// How many instances are tried for one connection.
#define MAX_CONTESTANTS 3
// How many are kept of a route: instances of an app may serve different ports.
#define MAX_PLACES 24

struct backend {
  uint8_t app[ID_BYTES];
  uint8_t instance[ID_BYTES];
  bool is_ipv6;
  uint8_t address[16];  // of IPv4 the first four bytes
  bool wants_header;    // of the PROXY protocol, on the port that is asked for
};

// A backend as the table has it.
struct place {
  struct backend backend;
  uint16_t header_ports[MAX_HEADER_PORTS];
  size_t header_port_count;
  bool serves_all_ports;
  uint16_t *public_ports;  // those it serves else
  size_t public_port_count;
};

struct route {
  struct table_node node;
  size_t place_count;  // at least one
  struct place places[];
};

struct port_range {
  uint16_t from, to;  // inclusive
};

// For all threads: each call sees one state of it.
struct routes {
  pthread_mutex_t lock;
  char *base_domains[MAX_BASE_DOMAINS];
  size_t base_domain_count;
  struct port_range ports[MAX_PORT_RANGES];
  size_t port_count;
  struct table by_id;
};

bool routes_init(struct routes *routes);
void routes_free(struct routes *routes);
// Takes the fields of COMMAND_ROUTES over. False: malformed, or no memory; the table may be half changed then.
bool routes_update(struct routes *routes, struct cursor update);
// What a name asks for.
struct destination routes_destination(struct routes *routes, const char *name, bool passthrough_only);
// Who serves this id on this port, the instance to try first coming first.
enum routes_found { ROUTES_FOUND, ROUTES_UNKNOWN, ROUTES_PORT_NOT_ALLOWED };
enum routes_found routes_find(struct routes *routes, const uint8_t id[ID_BYTES], uint16_t port,
                              struct backend backends[MAX_CONTESTANTS], size_t *count);

#endif
