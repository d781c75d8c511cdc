// Fuzz target: a ClientHello from the network, in whatever pieces, and the destination its name stands for.
#include <stdlib.h>
#include <string.h>

#include "hello.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length);

static enum hello_result scan(const uint8_t *data, size_t length, size_t piece) {
  struct hello_scan state = {0};
  enum hello_result result = HELLO_MORE;
  for (size_t at = 0; at < length && result == HELLO_MORE; at += piece) {
    result = hello_scan(&state, data + at, length - at < piece ? length - at : piece);
  }
  return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length) {
  static uint8_t scratch[MAX_HELLO_BYTES];
  char base[] = "app.example.org", *bases[] = {base};
  char name[MAX_NAME_BYTES + 1];
  // One rule whatever the pieces are. Only bytes after the hello may be in the last piece, or not.
  enum hello_result whole = scan(data, length, SIZE_MAX / 2), cut = scan(data, length, 7);
  if (whole != cut) abort();
  if (whole != HELLO_WHOLE) return 0;
  if (hello_parse(data, length, scratch, name) && name[0] != '\0') {
    size_t size = strlen(name);
    if (size > MAX_NAME_BYTES) abort();
    struct destination found = destination_parse(name, bases, 1, (length & 1) != 0);
    if (found.kind == DESTINATION_APP && (found.port == 0 || found.mode == MODE_NONE)) abort();
  }
  return 0;
}
