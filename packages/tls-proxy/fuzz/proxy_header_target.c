// Fuzz target: a PROXY header from a balancer, in whatever pieces, and the one we would write for the same addresses.
#include <stdlib.h>
#include <string.h>

#include "proxy_header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length) {
  struct proxy_header header, again;
  enum proxy_header_result whole = proxy_header_parse(data, length, &header);
  // One rule whatever the pieces are: what is whole or bad early stays so, and is so by the bytes it takes alone.
  for (size_t cut = 0; cut < length; cut += 1 + cut / 8) {
    enum proxy_header_result result = proxy_header_parse(data, cut, &again);
    if (result != PROXY_HEADER_MORE && result != whole) abort();
    if (result == PROXY_HEADER_WHOLE && again.length != header.length) abort();
  }
  if (whole != PROXY_HEADER_WHOLE) return 0;
  if (header.length > length || header.length > MAX_PROXY_HEADER_BYTES) abort();
  if (proxy_header_parse(data, header.length, &again) != PROXY_HEADER_WHOLE) abort();
  if (!header.has_addresses) return 0;
  uint8_t ours[MAX_PROXY_HEADER_BYTES];
  size_t size = proxy_header_write(ours, &header.source, &header.destination, "app.example.org");
  if (proxy_header_parse(ours, size, &again) != PROXY_HEADER_WHOLE || again.length != size) abort();
  if (memcmp(&header.source.address, &again.source.address, 16) != 0 || header.source.port != again.source.port ||
      memcmp(&header.destination.address, &again.destination.address, 16) != 0 ||
      header.destination.port != again.destination.port) {
    abort();
  }
  return 0;
}
