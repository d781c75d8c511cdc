// One socket of a connection: the client's, in clear or inside TLS, or the app's. What cannot be sent at once waits in
// the end it is for; whoever writes stops reading from the other side while something waits.
#ifndef DSTACK_PROXY_END_H
#define DSTACK_PROXY_END_H

#include <openssl/ssl.h>
#include <sys/types.h>

#include "bytes.h"
#include "loop.h"

struct connection;

struct end {
  struct garbage garbage;
  struct watch watch;
  struct connection *connection;
  SSL *tls;                // NULL: in clear
  struct buffer *waiting;  // to be sent; inside TLS, records; NULL: nothing
  bool can_read, can_write;  // as far as is known
  bool hears_of_room;        // epoll tells when it can be written to
  bool is_muted;             // epoll does not tell when it can be read from
  bool hung_up;              // the other side has ended: read on until 0
  bool broken;               // the kernel has an error for this socket
  bool read_ended;           // inside TLS: the socket itself has given 0
};

#define END_AGAIN (-1)
#define END_BROKEN (-2)

// Watches `fd`, which becomes the end's. NULL, with `fd` closed, when there is no memory. One that is connected can be
// written to; of one that is not yet, epoll tells when it is.
struct end *end_make(struct connection *connection, int fd, bool is_connected, void (*ready)(struct watch *, uint32_t));
struct end *end_of_watch(struct watch *watch);
// Remembers what an event said.
void end_note(struct end *end, uint32_t events);
// There is nothing more to read, or no room to write to, until epoll tells.
void end_is_dry(struct end *end);
void end_has_no_room(struct end *end);
// Nothing will be read for a while: bytes that come meanwhile would only wake us. Ends with end_is_dry.
void end_mute(struct end *end);
// How many bytes were read; 0 at the end of the data; END_AGAIN; END_BROKEN.
ssize_t end_read(struct end *end, uint8_t *bytes, size_t length);
// Takes all bytes. False: broken, or no memory.
bool end_write(struct end *end, const uint8_t *bytes, size_t length);
bool end_is_full(const struct end *end);
// Sends what waits, as far as it goes. False: broken.
bool end_flush(struct end *end);
// When bytes leave: at once, or together with what is sent next, or with the end; within 0.2 s even if nothing is.
enum urgency { SEND_NOW, SEND_WITH_NEXT };
// Sends bytes as they are, also where there is TLS. False: broken, or no memory.
bool end_write_raw(struct end *end, const uint8_t *bytes, size_t length, enum urgency urgency);
// Says that no more will be sent; nothing may be waiting. False: broken.
bool end_shut(struct end *end);
// Closes the socket; the memory goes at the end of the turn.
void end_close(struct end *end, bool by_reset);

#endif
