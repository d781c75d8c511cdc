// Reads inputs, each with its length in 4 bytes in front, and writes what the parser finds in each, a line an input:
// `more`, `not_tls`, `bad`, or `hello` and the name. Given "cut" as argument, it feeds one byte at a time.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hello.h"

static const char *const names[] = {"more", "hello", "not_tls", "bad"};

static enum hello_result scan(const uint8_t *bytes, size_t length, int cut) {
  struct hello_scan state = {0};
  if (!cut) return hello_scan(&state, bytes, length);
  enum hello_result result = HELLO_MORE;
  for (size_t i = 0; i < length && result == HELLO_MORE; i++) result = hello_scan(&state, bytes + i, 1);
  return result;
}

int main(int count, char **arguments) {
  static uint8_t scratch[MAX_HELLO_BYTES];
  uint8_t head[4];
  (void)arguments;
  while (fread(head, 1, sizeof head, stdin) == sizeof head) {
    size_t length = (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
    uint8_t *bytes = malloc(length + 1);  // exactly as long as the input, for AddressSanitizer, or one byte for none
    if (bytes == NULL || fread(bytes, 1, length, stdin) != length) return 1;
    bytes = realloc(bytes, length == 0 ? 1 : length);
    char name[MAX_NAME_BYTES + 1] = "";
    enum hello_result result = scan(bytes, length, count > 1);
    if (result == HELLO_WHOLE && !hello_parse(bytes, length, scratch, name)) result = HELLO_BAD;
    printf("%s%s%s\n", names[result], name[0] == '\0' ? "" : " ", name);
    free(bytes);
  }
  return 0;
}
