// A cursor that cannot leave its bytes, and a buffer that grows up to a bound. Both remember that something failed, so
// that a reader or writer of many fields checks once, at its end.
#ifndef DSTACK_PROXY_BYTES_H
#define DSTACK_PROXY_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cursor {
  const uint8_t *at;
  size_t left;
  bool failed;
};

struct cursor cursor_over(const uint8_t *bytes, size_t length);
// The next bytes; NULL when fewer are left, and from then on.
const uint8_t *cursor_take(struct cursor *cursor, size_t length);
// A big-endian number of 1 to 8 bytes; 0 when it failed.
uint64_t cursor_uint(struct cursor *cursor, size_t size);
// The bytes of a vector with its length, of `size` bytes, in front; empty and failed when it is cut short.
struct cursor cursor_vector(struct cursor *cursor, size_t size);

struct buffer {
  uint8_t *bytes;
  size_t length, capacity;
  size_t most;   // it never holds more
  bool is_lent;  // the bytes: not to be given back
  bool failed;
};

// Room for `length` more bytes at the end; NULL, and failed, when there is no memory or it would be over the bound.
uint8_t *buffer_grow(struct buffer *buffer, size_t length);
void buffer_put(struct buffer *buffer, const void *bytes, size_t length);
void buffer_put_uint(struct buffer *buffer, uint64_t value, size_t size);
// Takes bytes away from the front. Gives the memory back when none is left.
void buffer_drop(struct buffer *buffer, size_t length);
void buffer_free(struct buffer *buffer);

#endif
