// Reads a ClientHello from a stream in whatever pieces it comes: the rules of client-hello.ts.
#ifndef DSTACK_PROXY_HELLO_H
#define DSTACK_PROXY_HELLO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "name.h"

// We read no longer ClientHello, record headers included.
#define MAX_HELLO_BYTES 65536

enum hello_result { HELLO_MORE, HELLO_WHOLE, HELLO_NOT_TLS, HELLO_BAD };

// How far the records have been followed; all zero at the start. Holds no bytes of the message.
struct hello_scan {
  size_t received;
  size_t fragment_left;
  size_t message_received;
  uint8_t header[5];
  uint8_t header_received;
  uint8_t message_head[4];
};

// Follows the next bytes. Not to be called again after a result other than HELLO_MORE.
enum hello_result hello_scan(struct hello_scan *scan, const uint8_t *bytes, size_t length);

// Reads the name from a stream for which hello_scan said HELLO_WHOLE. `scratch` takes the message out of its records.
// The name is empty when the client sent none, or something that is no host name. False, with an empty name: malformed.
bool hello_parse(const uint8_t *stream, size_t length, uint8_t scratch[MAX_HELLO_BYTES],
                 char server_name[MAX_NAME_BYTES + 1]);

#endif
