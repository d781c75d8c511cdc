#include "hello.h"

#include <string.h>

#include "bytes.h"

// Longest plaintext fragment of a record (RFC 8446 §5.1).
#define MAX_FRAGMENT_BYTES (1u << 14)
#define MAX_SESSION_ID_BYTES 32
#define RECORD_HEADER_BYTES 5
#define MESSAGE_HEADER_BYTES 4

enum { RECORD_HANDSHAKE = 22, MESSAGE_CLIENT_HELLO = 1, EXTENSION_SERVER_NAME = 0, EXTENSION_ALPN = 16, HOST_NAME = 0 };

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

static size_t fragment_length(const uint8_t header[RECORD_HEADER_BYTES]) {
  return (size_t)header[3] << 8 | header[4];
}

static enum hello_result take_header_byte(struct hello_scan *scan, uint8_t byte) {
  scan->header[scan->header_received++] = byte;
  if (scan->header[0] != RECORD_HANDSHAKE) return HELLO_NOT_TLS;
  if (scan->header_received >= 2 && scan->header[1] != 3) return HELLO_NOT_TLS;
  if (scan->header_received < RECORD_HEADER_BYTES) return HELLO_MORE;
  scan->header_received = 0;
  scan->fragment_left = fragment_length(scan->header);
  // RFC 8446 §5.1: no empty fragments of handshake messages.
  if (scan->fragment_left == 0 || scan->fragment_left > MAX_FRAGMENT_BYTES) return HELLO_BAD;
  return HELLO_MORE;
}

static enum hello_result take_fragment(struct hello_scan *scan, const uint8_t *bytes, size_t length) {
  for (size_t i = 0; i < length && scan->message_received + i < MESSAGE_HEADER_BYTES; i++) {
    scan->message_head[scan->message_received + i] = bytes[i];
  }
  scan->message_received += length;
  scan->fragment_left -= length;
  if (scan->message_head[0] != MESSAGE_CLIENT_HELLO) return HELLO_BAD;
  if (scan->message_received < MESSAGE_HEADER_BYTES) return HELLO_MORE;
  const uint8_t *head = scan->message_head;
  size_t whole = MESSAGE_HEADER_BYTES + ((size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3]);
  if (whole > MAX_HELLO_BYTES) return HELLO_BAD;
  if (scan->message_received < whole) return HELLO_MORE;
  // A second handshake message cannot follow in the same record: the client has to wait for our answer.
  return scan->message_received > whole || scan->fragment_left > 0 ? HELLO_BAD : HELLO_WHOLE;
}

enum hello_result hello_scan(struct hello_scan *scan, const uint8_t *bytes, size_t length) {
  size_t at = 0;
  while (at < length) {
    if (scan->received >= MAX_HELLO_BYTES) return HELLO_BAD;
    enum hello_result result;
    if (scan->fragment_left == 0) {
      result = take_header_byte(scan, bytes[at]);
      at++;
      scan->received++;
    } else {
      size_t take = least(scan->fragment_left, least(length - at, MAX_HELLO_BYTES - scan->received));
      result = take_fragment(scan, bytes + at, take);
      at += take;
      scan->received += take;
    }
    if (result != HELLO_MORE) return result;
  }
  return HELLO_MORE;
}

// Takes the handshake message out of its records; returns its length.
static size_t reassemble(const uint8_t *stream, size_t length, uint8_t scratch[MAX_HELLO_BYTES]) {
  struct cursor records = cursor_over(stream, length);
  size_t filled = 0, whole = MESSAGE_HEADER_BYTES;
  while (filled < whole) {
    const uint8_t *header = cursor_take(&records, RECORD_HEADER_BYTES);
    size_t fragment = header == NULL ? 0 : fragment_length(header);
    const uint8_t *bytes = cursor_take(&records, fragment);
    if (bytes == NULL || fragment == 0 || fragment > MAX_HELLO_BYTES - filled) return 0;
    memcpy(scratch + filled, bytes, fragment);
    filled += fragment;
    if (filled >= MESSAGE_HEADER_BYTES) {
      whole = MESSAGE_HEADER_BYTES + ((size_t)scratch[1] << 16 | (size_t)scratch[2] << 8 | scratch[3]);
    }
  }
  return filled == whole ? whole : 0;
}

// RFC 6066 §3.
static bool parse_server_name_extension(struct cursor value, char server_name[MAX_NAME_BYTES + 1]) {
  struct cursor list = cursor_vector(&value, 2);
  bool found = false;
  if (value.left > 0) return false;
  while (list.left > 0) {
    uint64_t type = cursor_uint(&list, 1);
    struct cursor name = cursor_vector(&list, 2);
    if (list.failed) return false;
    if (type != HOST_NAME) continue;
    if (found) return false;  // two host names: two readers could choose differently
    found = true;
    server_name_parse(name.at, name.left, server_name);
  }
  return !list.failed;
}

// RFC 7301 §3.1. Which protocol to agree on is OpenSSL's to find; here the list only has to be one.
static bool check_alpn(struct cursor value) {
  struct cursor list = cursor_vector(&value, 2);
  if (value.left > 0) return false;
  while (list.left > 0) {
    if (cursor_vector(&list, 1).left == 0) return false;
  }
  return !list.failed;
}

// RFC 8446 §4.2: at most one extension of a type.
struct seen_types {
  uint8_t bits[(UINT16_MAX + 1) / 8];
};

static bool see(struct seen_types *seen, uint16_t type) {
  uint8_t bit = (uint8_t)(1u << (type % 8));
  if ((seen->bits[type / 8] & bit) != 0) return false;
  seen->bits[type / 8] |= bit;
  return true;
}

static bool parse_extensions(struct cursor extensions, char server_name[MAX_NAME_BYTES + 1]) {
  struct seen_types seen = {{0}};
  while (extensions.left > 0) {
    uint16_t type = (uint16_t)cursor_uint(&extensions, 2);
    struct cursor value = cursor_vector(&extensions, 2);
    if (extensions.failed || !see(&seen, type)) return false;
    if (type == EXTENSION_SERVER_NAME && !parse_server_name_extension(value, server_name)) return false;
    if (type == EXTENSION_ALPN && !check_alpn(value)) return false;
  }
  return !extensions.failed;
}

// RFC 8446 §4.1.2.
static bool parse_body(struct cursor body, char server_name[MAX_NAME_BYTES + 1]) {
  cursor_take(&body, 2 + 32);  // version and random
  if (cursor_vector(&body, 1).left > MAX_SESSION_ID_BYTES) return false;
  size_t suites = cursor_vector(&body, 2).left;
  if (suites == 0 || suites % 2 != 0) return false;
  if (cursor_vector(&body, 1).left == 0) return false;  // compression methods
  if (body.left == 0) return !body.failed;              // TLS 1.2 and older: extensions may be absent
  struct cursor extensions = cursor_vector(&body, 2);
  if (body.failed || body.left > 0) return false;
  return parse_extensions(extensions, server_name);
}

bool hello_parse(const uint8_t *stream, size_t length, uint8_t scratch[MAX_HELLO_BYTES],
                 char server_name[MAX_NAME_BYTES + 1]) {
  server_name[0] = '\0';
  size_t whole = reassemble(stream, length, scratch);
  if (whole == 0) return false;
  struct cursor body = cursor_over(scratch + MESSAGE_HEADER_BYTES, whole - MESSAGE_HEADER_BYTES);
  if (parse_body(body, server_name)) return true;
  server_name[0] = '\0';
  return false;
}
