// Where a client comes from.
#ifndef DSTACK_PROXY_SOURCE_H
#define DSTACK_PROXY_SOURCE_H

#include <netinet/in.h>

#include "proxy_header.h"
#include "table.h"

// Room for an IPv6 address, or a /64, in text.
#define SOURCE_TEXT_BYTES (INET6_ADDRSTRLEN + 4)

// IPv4 addresses as ::ffff:192.0.2.1, whatever listener they came to.
struct source {
  struct in6_addr address;
  bool told_as_ipv6;
};

struct source source_of(const struct sockaddr_storage *peer);
// Both ends of an accepted socket.
void source_endpoints(int fd, struct endpoint *peer, struct endpoint *own);
// The addresses that begin with these bits.
struct prefix {
  struct in6_addr address;
  uint8_t bits;  // of 128
};
bool source_is_in(const struct source *source, const struct prefix *prefix);
// Who counts as one source: an IPv4 address, or the /64 an IPv6 address is in, which is what one customer gets.
void source_key(const struct source *source, uint8_t key[KEY_BYTES]);
// The address as Node tells it, and the key as `sourceKey` of @dstack/core writes it.
void source_text(const struct source *source, char text[SOURCE_TEXT_BYTES]);
void source_key_text(const struct source *source, char text[SOURCE_TEXT_BYTES]);

#endif
