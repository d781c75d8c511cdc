#include "source.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define PREFIX_BYTES 8
#define IPV4_AT 12

struct source source_of(const struct sockaddr_storage *peer) {
  struct source source = {.told_as_ipv6 = peer->ss_family == AF_INET6};
  if (source.told_as_ipv6) {
    source.address = ((const struct sockaddr_in6 *)peer)->sin6_addr;
  } else {
    source.address.s6_addr[10] = source.address.s6_addr[11] = 0xff;
    memcpy(&source.address.s6_addr[IPV4_AT], &((const struct sockaddr_in *)peer)->sin_addr, 4);
  }
  return source;
}

static struct endpoint endpoint_of(const struct sockaddr_storage *address) {
  bool is_ipv6 = address->ss_family == AF_INET6;
  uint16_t port = is_ipv6 ? ((const struct sockaddr_in6 *)address)->sin6_port
                          : ((const struct sockaddr_in *)address)->sin_port;
  return (struct endpoint){.address = source_of(address).address, .port = ntohs(port)};
}

void source_endpoints(int fd, struct endpoint *peer, struct endpoint *own) {
  struct sockaddr_storage address = {.ss_family = AF_INET};
  socklen_t length = sizeof address;
  // One that is reset meanwhile has no peer any more: nobody will read of whom we speak.
  getpeername(fd, (struct sockaddr *)&address, &length);
  *peer = endpoint_of(&address);
  length = sizeof address;
  getsockname(fd, (struct sockaddr *)&address, &length);
  *own = endpoint_of(&address);
}

bool source_is_in(const struct source *source, const struct prefix *prefix) {
  size_t whole = prefix->bits / 8;
  const uint8_t *a = source->address.s6_addr, *b = prefix->address.s6_addr;
  if (prefix->bits > 128 || memcmp(a, b, whole) != 0) return false;
  uint8_t mask = (uint8_t)(0xff00 >> prefix->bits % 8);
  return mask == 0 || ((a[whole] ^ b[whole]) & mask) == 0;
}

void source_key(const struct source *source, uint8_t key[KEY_BYTES]) {
  memset(key, 0, KEY_BYTES);
  memcpy(key, &source->address, IN6_IS_ADDR_V4MAPPED(&source->address) ? sizeof source->address : PREFIX_BYTES);
}

void source_text(const struct source *source, char text[SOURCE_TEXT_BYTES]) {
  if (source->told_as_ipv6) {
    inet_ntop(AF_INET6, &source->address, text, SOURCE_TEXT_BYTES);
  } else {
    inet_ntop(AF_INET, &source->address.s6_addr[IPV4_AT], text, SOURCE_TEXT_BYTES);
  }
}

void source_key_text(const struct source *source, char text[SOURCE_TEXT_BYTES]) {
  const uint8_t *at = source->address.s6_addr;
  if (IN6_IS_ADDR_V4MAPPED(&source->address)) {
    inet_ntop(AF_INET, at + IPV4_AT, text, SOURCE_TEXT_BYTES);
  } else {
    snprintf(text, SOURCE_TEXT_BYTES, "%x:%x:%x:%x::/64", at[0] << 8 | at[1], at[2] << 8 | at[3], at[4] << 8 | at[5],
             at[6] << 8 | at[7]);
  }
}
