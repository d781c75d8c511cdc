// Reads inputs, each with its length in 4 bytes in front, and writes what the parser of PROXY headers finds in each, a
// line an input: `more`, `bad`, `none`, or the addresses and ports.
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy_header.h"

static void print_endpoint(const struct endpoint *endpoint, bool is_ipv6) {
  char text[INET6_ADDRSTRLEN] = "?";
  const uint8_t *bytes = endpoint->address.s6_addr;
  inet_ntop(is_ipv6 ? AF_INET6 : AF_INET, is_ipv6 ? bytes : bytes + 12, text, sizeof text);
  printf("%s %u", text, endpoint->port);
}

int main(void) {
  uint8_t head[4];
  while (fread(head, 1, sizeof head, stdin) == sizeof head) {
    size_t length = (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
    uint8_t *bytes = malloc(length == 0 ? 1 : length);  // exactly as long as the input, for AddressSanitizer
    struct proxy_header header;
    if (bytes == NULL || fread(bytes, 1, length, stdin) != length) return 1;
    enum proxy_header_result result = proxy_header_parse(bytes, length, &header);
    if (result != PROXY_HEADER_WHOLE) {
      printf("%s", result == PROXY_HEADER_MORE ? "more" : "bad");
    } else if (!header.has_addresses) {
      printf("none");
    } else {
      print_endpoint(&header.source, header.is_ipv6);
      printf(" ");
      print_endpoint(&header.destination, header.is_ipv6);
    }
    printf("\n");
    free(bytes);
  }
  return 0;
}
