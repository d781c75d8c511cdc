#include "source.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define PREFIX_BYTES 8
#define IPV4_AT 12

struct source source_of(const struct sockaddr_storage *peer) {
  struct source source = {.listener_is_ipv6 = peer->ss_family == AF_INET6};
  if (source.listener_is_ipv6) {
    source.address = ((const struct sockaddr_in6 *)peer)->sin6_addr;
  } else {
    source.address.s6_addr[10] = source.address.s6_addr[11] = 0xff;
    memcpy(&source.address.s6_addr[IPV4_AT], &((const struct sockaddr_in *)peer)->sin_addr, 4);
  }
  return source;
}

void source_key(const struct source *source, uint8_t key[KEY_BYTES]) {
  memset(key, 0, KEY_BYTES);
  memcpy(key, &source->address, IN6_IS_ADDR_V4MAPPED(&source->address) ? sizeof source->address : PREFIX_BYTES);
}

void source_text(const struct source *source, char text[SOURCE_TEXT_BYTES]) {
  if (source->listener_is_ipv6) {
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
