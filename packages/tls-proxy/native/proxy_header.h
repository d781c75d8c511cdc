// The header of the PROXY protocol, versions 1 and 2 (haproxy.org, proxy-protocol.txt): the rules of proxy-header.ts.
#ifndef DSTACK_PROXY_PROXY_HEADER_H
#define DSTACK_PROXY_PROXY_HEADER_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// We read no longer header; one of ours is shorter.
#define MAX_PROXY_HEADER_BYTES 4096

// IPv4 addresses as ::ffff:192.0.2.1.
struct endpoint {
  struct in6_addr address;
  uint16_t port;
};

struct proxy_header {
  size_t length;       // of all its bytes
  bool has_addresses;  // else whoever speaks to us speaks for himself
  bool is_ipv6;        // as it was written
  struct endpoint source, destination;
};

enum proxy_header_result { PROXY_HEADER_MORE, PROXY_HEADER_WHOLE, PROXY_HEADER_BAD };

// Reads the header at the start of what has come so far. What follows it is not looked at.
enum proxy_header_result proxy_header_parse(const uint8_t *bytes, size_t length, struct proxy_header *header);

// Writes one of version 2 with the name the client asked for. Gives back its length.
size_t proxy_header_write(uint8_t bytes[MAX_PROXY_HEADER_BYTES], const struct endpoint *source,
                          const struct endpoint *destination, const char *server_name);

#endif
