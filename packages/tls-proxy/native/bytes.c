#include "bytes.h"

#include <stdlib.h>
#include <string.h>

#define LEAST_CAPACITY 512

struct cursor cursor_over(const uint8_t *bytes, size_t length) {
  return (struct cursor){.at = bytes, .left = length, .failed = false};
}

const uint8_t *cursor_take(struct cursor *cursor, size_t length) {
  if (cursor->failed || length > cursor->left) {
    cursor->failed = true;
    cursor->left = 0;
    return NULL;
  }
  const uint8_t *start = cursor->at;
  cursor->at += length;
  cursor->left -= length;
  return start;
}

uint64_t cursor_uint(struct cursor *cursor, size_t size) {
  const uint8_t *bytes = cursor_take(cursor, size);
  uint64_t value = 0;
  for (size_t i = 0; bytes != NULL && i < size; i++) value = value << 8 | bytes[i];
  return value;
}

struct cursor cursor_vector(struct cursor *cursor, size_t size) {
  size_t length = (size_t)cursor_uint(cursor, size);
  const uint8_t *bytes = cursor_take(cursor, length);
  struct cursor inside = cursor_over(bytes, bytes == NULL ? 0 : length);
  inside.failed = cursor->failed;
  return inside;
}

uint8_t *buffer_grow(struct buffer *buffer, size_t length) {
  if (buffer->failed || length > buffer->most - buffer->length) {
    buffer->failed = true;
    return NULL;
  }
  size_t needed = buffer->length + length;
  if (needed > buffer->capacity) {
    size_t capacity = buffer->capacity * 2;
    if (capacity < LEAST_CAPACITY) capacity = LEAST_CAPACITY;
    if (capacity < needed) capacity = needed;
    uint8_t *bytes = realloc(buffer->is_lent ? NULL : buffer->bytes, capacity);
    if (bytes == NULL) {
      buffer->failed = true;
      return NULL;
    }
    if (buffer->is_lent) memcpy(bytes, buffer->bytes, buffer->length);
    buffer->is_lent = false;
    buffer->bytes = bytes;
    buffer->capacity = capacity;
  }
  uint8_t *end = buffer->bytes + buffer->length;
  buffer->length = needed;
  return end;
}

void buffer_put(struct buffer *buffer, const void *bytes, size_t length) {
  if (length == 0) return;
  uint8_t *end = buffer_grow(buffer, length);
  if (end != NULL) memcpy(end, bytes, length);
}

void buffer_put_uint(struct buffer *buffer, uint64_t value, size_t size) {
  uint8_t *end = buffer_grow(buffer, size);
  for (size_t i = 0; end != NULL && i < size; i++) end[i] = (uint8_t)(value >> (8 * (size - 1 - i)));
}

void buffer_drop(struct buffer *buffer, size_t length) {
  if (length >= buffer->length) {
    buffer_free(buffer);
    return;
  }
  buffer->length -= length;
  memmove(buffer->bytes, buffer->bytes + length, buffer->length);
}

void buffer_free(struct buffer *buffer) {
  if (!buffer->is_lent) free(buffer->bytes);
  buffer->bytes = NULL;
  buffer->length = buffer->capacity = 0;
  buffer->is_lent = buffer->failed = false;
}
