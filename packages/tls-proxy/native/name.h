// Server names and what they ask for: the rules of server-name.ts and destination.ts.
#ifndef DSTACK_PROXY_NAME_H
#define DSTACK_PROXY_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Longest DNS name in text form (RFC 1035 §2.3.4).
#define MAX_NAME_BYTES 253
#define MAX_LABEL_BYTES 63
// App and instance ids: 40 hex digits.
#define ID_BYTES 20

// Reads a name a client sent into `name`: lower case, without trailing dot, NUL at its end. ASCII letters, digits and
// hyphens in labels of 1 to 63, at least two labels. False, with `name` empty, for anything else and for IP addresses.
bool server_name_parse(const uint8_t *text, size_t length, char name[MAX_NAME_BYTES + 1]);

enum route_mode { MODE_NONE, MODE_TERMINATE, MODE_HTTP2, MODE_PASSTHROUGH };

struct destination {
  enum { DESTINATION_APP, DESTINATION_UNKNOWN, DESTINATION_CUSTOM } kind;
  // Of an app only.
  uint8_t id[ID_BYTES];
  uint16_t port;
  enum route_mode mode;
};

// What `name` asks for: `<id>[-<port>][s|g].<base domain>`, one label only.
struct destination destination_parse(const char *name, char *const *base_domains, size_t base_domain_count,
                                     bool passthrough_only);

#endif
