#include "name.h"

#include <string.h>

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_alphanumeric(char c) { return (c >= 'a' && c <= 'z') || is_digit(c); }

static bool is_label(const char *label, size_t length) {
  if (length == 0 || length > MAX_LABEL_BYTES) return false;
  if (!is_alphanumeric(label[0]) || !is_alphanumeric(label[length - 1])) return false;
  for (size_t i = 0; i < length; i++) {
    if (!is_alphanumeric(label[i]) && label[i] != '-') return false;
  }
  return true;
}

static bool is_number(const char *label, size_t length) {
  for (size_t i = 0; i < length; i++) {
    if (!is_digit(label[i])) return false;
  }
  return true;
}

static bool is_host_name(const char *name, size_t length) {
  size_t labels = 0, start = 0;
  for (size_t i = 0; i <= length; i++) {
    if (i < length && name[i] != '.') continue;
    if (!is_label(name + start, i - start)) return false;
    labels++;
    // No top-level domain is a number; an IPv4 address ends in one.
    if (i == length && is_number(name + start, i - start)) return false;
    start = i + 1;
  }
  return labels >= 2;
}

bool server_name_parse(const uint8_t *text, size_t length, char name[MAX_NAME_BYTES + 1]) {
  name[0] = '\0';
  if (length > 0 && text[length - 1] == '.') length--;
  if (length == 0 || length > MAX_NAME_BYTES) return false;
  for (size_t i = 0; i < length; i++) {
    char c = (char)text[i];
    name[i] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
  }
  if (!is_host_name(name, length)) {
    name[0] = '\0';
    return false;
  }
  name[length] = '\0';
  return true;
}

static int hex_digit(char c) {
  if (is_digit(c)) return c - '0';
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool read_id(const char *text, uint8_t id[ID_BYTES]) {
  for (size_t i = 0; i < ID_BYTES; i++) {
    int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    id[i] = (uint8_t)(high << 4 | low);
  }
  return true;
}

// `-8080`: at most five digits, no zero in front, a port. Moves `at` behind it; leaves 0 where there is no port.
static bool read_port(const char **at, const char *end, uint16_t *port) {
  *port = 0;
  if (*at == end || **at != '-') return true;
  const char *digit = *at + 1;
  uint32_t number = 0;
  size_t digits = 0;
  while (digit < end && is_digit(*digit) && digits < 5) {
    number = number * 10 + (uint32_t)(*digit++ - '0');
    digits++;
  }
  if (digits == 0 || (*at)[1] == '0' || number > UINT16_MAX) return false;
  *at = digit;
  *port = (uint16_t)number;
  return true;
}

static bool read_label(const char *label, size_t length, bool passthrough_only, struct destination *found) {
  const char *at = label + 2 * ID_BYTES, *end = label + length;
  if (length < 2 * ID_BYTES || !read_id(label, found->id) || !read_port(&at, end, &found->port)) return false;
  found->mode = MODE_TERMINATE;
  if (at < end && *at == 's') found->mode = MODE_PASSTHROUGH;
  if (at < end && *at == 'g') found->mode = MODE_HTTP2;
  if (found->mode != MODE_TERMINATE) at++;
  if (at != end) return false;
  if (passthrough_only) found->mode = MODE_PASSTHROUGH;
  if (found->port == 0) found->port = found->mode == MODE_PASSTHROUGH ? 443 : 80;
  return true;
}

struct destination destination_parse(const char *name, char *const *base_domains, size_t base_domain_count,
                                     bool passthrough_only) {
  struct destination found = {.kind = DESTINATION_CUSTOM};
  size_t length = strlen(name);
  for (size_t i = 0; i < base_domain_count; i++) {
    size_t base = strlen(base_domains[i]);
    if (length < base || memcmp(name + length - base, base_domains[i], base) != 0) continue;
    if (length > base && name[length - base - 1] != '.') continue;
    bool is_app = length > base && read_label(name, length - base - 1, passthrough_only, &found);
    found.kind = is_app ? DESTINATION_APP : DESTINATION_UNKNOWN;
    break;
  }
  return found;
}
