#include "proxy_header.h"

#include <arpa/inet.h>
#include <string.h>

#include "bytes.h"

// "PROXY TCP6 " with the longest addresses and ports, and the end of the line.
#define MAX_LINE_BYTES 107
#define SIGNATURE_BYTES 12
#define HEAD_BYTES (SIGNATURE_BYTES + 4)
#define IPV4_AT 12

#define VERSION_2_LOCAL 0x20
#define VERSION_2_PROXY 0x21
#define TCP_OVER_IPV4 0x11
#define TCP_OVER_IPV6 0x21
#define TLV_AUTHORITY 0x02

static const uint8_t signature[SIGNATURE_BYTES] = "\r\n\r\n\0\r\nQUIT\n";
static const char line_start[] = "PROXY ";

static void set_ipv4(struct in6_addr *address, const uint8_t ipv4[4]) {
  memset(address, 0, sizeof *address);
  address->s6_addr[10] = address->s6_addr[11] = 0xff;
  memcpy(&address->s6_addr[IPV4_AT], ipv4, 4);
}

// --- version 1: a line of text ---

// The next word, up to a space or the end; empty when there is none.
static struct cursor next_word(struct cursor *line) {
  size_t length = 0;
  while (length < line->left && line->at[length] != ' ') length++;
  struct cursor word = cursor_over(cursor_take(line, length), length);
  if (line->left > 0) cursor_take(line, 1);
  return word;
}

static bool is_word(struct cursor word, const char *text) {
  return word.left == strlen(text) && memcmp(word.at, text, word.left) == 0;
}

static bool read_address(struct cursor word, int family, struct in6_addr *address) {
  char text[INET6_ADDRSTRLEN];
  uint8_t bytes[16];
  if (word.left == 0 || word.left >= sizeof text || memchr(word.at, 0, word.left) != NULL) return false;
  memcpy(text, word.at, word.left);
  text[word.left] = '\0';
  if (inet_pton(family, text, bytes) != 1) return false;
  if (family == AF_INET) set_ipv4(address, bytes);
  else memcpy(address, bytes, sizeof *address);
  return true;
}

static bool read_port(struct cursor word, uint16_t *port) {
  uint32_t number = 0;
  if (word.left == 0 || word.left > 5 || (word.left > 1 && word.at[0] == '0')) return false;
  for (size_t i = 0; i < word.left; i++) {
    if (word.at[i] < '0' || word.at[i] > '9') return false;
    number = number * 10 + (uint32_t)(word.at[i] - '0');
  }
  *port = (uint16_t)number;
  return number <= UINT16_MAX;
}

static enum proxy_header_result parse_line(const uint8_t *bytes, size_t length, struct proxy_header *header) {
  size_t most = length < MAX_LINE_BYTES ? length : MAX_LINE_BYTES, end = strlen(line_start);
  while (end + 1 < most && memcmp(bytes + end, "\r\n", 2) != 0) end++;
  if (end + 1 >= most) return length < MAX_LINE_BYTES ? PROXY_HEADER_MORE : PROXY_HEADER_BAD;
  header->length = end + 2;
  struct cursor line = cursor_over(bytes + strlen(line_start), end - strlen(line_start));
  struct cursor protocol = next_word(&line);
  if (is_word(protocol, "UNKNOWN")) return PROXY_HEADER_WHOLE;
  int family = is_word(protocol, "TCP4") ? AF_INET : AF_INET6;
  if (family == AF_INET6 && !is_word(protocol, "TCP6")) return PROXY_HEADER_BAD;
  bool good = read_address(next_word(&line), family, &header->source.address) &&
              read_address(next_word(&line), family, &header->destination.address) &&
              read_port(next_word(&line), &header->source.port) &&
              read_port(line, &header->destination.port);  // the rest of the line: nothing may follow
  header->has_addresses = good;
  header->is_ipv6 = family == AF_INET6;
  return good ? PROXY_HEADER_WHOLE : PROXY_HEADER_BAD;
}

// --- version 2: bytes ---

static void read_endpoints(struct cursor fields, size_t address_bytes, struct proxy_header *header) {
  const uint8_t *source = cursor_take(&fields, address_bytes), *destination = cursor_take(&fields, address_bytes);
  header->source.port = (uint16_t)cursor_uint(&fields, 2);
  header->destination.port = (uint16_t)cursor_uint(&fields, 2);
  header->has_addresses = !fields.failed;
  if (fields.failed) return;
  header->is_ipv6 = address_bytes != 4;
  if (address_bytes == 4) {
    set_ipv4(&header->source.address, source);
    set_ipv4(&header->destination.address, destination);
  } else {
    memcpy(&header->source.address, source, address_bytes);
    memcpy(&header->destination.address, destination, address_bytes);
  }
}

static enum proxy_header_result parse_binary(const uint8_t *bytes, size_t length, struct proxy_header *header) {
  if (length < HEAD_BYTES) return PROXY_HEADER_MORE;
  struct cursor cursor = cursor_over(bytes + SIGNATURE_BYTES, length - SIGNATURE_BYTES);
  uint64_t command = cursor_uint(&cursor, 1), family = cursor_uint(&cursor, 1), size = cursor_uint(&cursor, 2);
  if (command != VERSION_2_LOCAL && command != VERSION_2_PROXY) return PROXY_HEADER_BAD;
  header->length = HEAD_BYTES + (size_t)size;
  if (header->length > MAX_PROXY_HEADER_BYTES) return PROXY_HEADER_BAD;
  if (length < header->length) return PROXY_HEADER_MORE;
  // Other families, such as Unix sockets, say nothing that we could use. What follows the addresses is not ours either.
  if (command == VERSION_2_LOCAL || (family != TCP_OVER_IPV4 && family != TCP_OVER_IPV6)) return PROXY_HEADER_WHOLE;
  read_endpoints(cursor_over(cursor.at, (size_t)size), family == TCP_OVER_IPV4 ? 4 : 16, header);
  return header->has_addresses ? PROXY_HEADER_WHOLE : PROXY_HEADER_BAD;
}

enum proxy_header_result proxy_header_parse(const uint8_t *bytes, size_t length, struct proxy_header *header) {
  *header = (struct proxy_header){0};
  size_t text = strlen(line_start);
  if (length == 0) return PROXY_HEADER_MORE;
  if (memcmp(bytes, signature, length < SIGNATURE_BYTES ? length : SIGNATURE_BYTES) == 0) {
    return length < SIGNATURE_BYTES ? PROXY_HEADER_MORE : parse_binary(bytes, length, header);
  }
  if (memcmp(bytes, line_start, length < text ? length : text) == 0) {
    return length < text ? PROXY_HEADER_MORE : parse_line(bytes, length, header);
  }
  return PROXY_HEADER_BAD;
}

// --- ours ---

static void put_endpoints(struct buffer *out, const struct in6_addr *source, const struct in6_addr *destination,
                          size_t address_bytes) {
  size_t from = sizeof *source - address_bytes;  // of IPv4 the last four
  buffer_put(out, &source->s6_addr[from], address_bytes);
  buffer_put(out, &destination->s6_addr[from], address_bytes);
}

size_t proxy_header_write(uint8_t bytes[MAX_PROXY_HEADER_BYTES], const struct endpoint *source,
                          const struct endpoint *destination, const char *server_name) {
  bool is_ipv4 = IN6_IS_ADDR_V4MAPPED(&source->address) && IN6_IS_ADDR_V4MAPPED(&destination->address);
  size_t address_bytes = is_ipv4 ? 4 : 16, name_bytes = strlen(server_name);
  struct buffer out = {
      .bytes = bytes, .capacity = MAX_PROXY_HEADER_BYTES, .most = MAX_PROXY_HEADER_BYTES, .is_lent = true};
  buffer_put(&out, signature, sizeof signature);
  buffer_put_uint(&out, VERSION_2_PROXY, 1);
  buffer_put_uint(&out, is_ipv4 ? TCP_OVER_IPV4 : TCP_OVER_IPV6, 1);
  buffer_put_uint(&out, 2 * address_bytes + 4 + 3 + name_bytes, 2);
  put_endpoints(&out, &source->address, &destination->address, address_bytes);
  buffer_put_uint(&out, source->port, 2);
  buffer_put_uint(&out, destination->port, 2);
  buffer_put_uint(&out, TLV_AUTHORITY, 1);
  buffer_put_uint(&out, name_bytes, 2);
  buffer_put(&out, server_name, name_bytes);
  return out.length;
}
