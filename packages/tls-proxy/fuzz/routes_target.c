// Fuzz target: the fields of a routing table. They come from our own control plane; a mistake there must not become one
// of memory here.
#include <stdlib.h>

#include "routes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length) {
  struct routes routes;
  if (!routes_init(&routes)) abort();
  // Two updates: the second changes what the first has made.
  routes_update(&routes, cursor_over(data, length / 2));
  routes_update(&routes, cursor_over(data + length / 2, length - length / 2));
  routes_update(&routes, cursor_over(data, length));
  routes_free(&routes);
  return 0;
}
