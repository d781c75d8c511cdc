#include <errno.h>
#include <openssl/err.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ends.h"

static ssize_t tls_result(const struct stream *stream, int result) {
  if (result > 0) return result;
  switch (SSL_get_error(stream->tls, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
      return STREAM_AGAIN;
    case SSL_ERROR_ZERO_RETURN:
      return 0;
    default:
      return STREAM_BROKEN;
  }
}

static ssize_t socket_result(ssize_t count) {
  if (count >= 0) return count;
  return errno == EAGAIN ? STREAM_AGAIN : STREAM_BROKEN;
}

ssize_t stream_read(struct stream *stream, void *bytes, size_t length) {
  if (stream->tls != NULL) return tls_result(stream, SSL_read(stream->tls, bytes, (int)length));
  return socket_result(recv(stream->fd, bytes, length, 0));
}

ssize_t stream_discard(struct stream *stream, size_t length) {
  static uint8_t scratch[CHUNK_BYTES];
  if (stream->tls != NULL) return stream_read(stream, scratch, length < CHUNK_BYTES ? length : CHUNK_BYTES);
  return socket_result(recv(stream->fd, NULL, length < (4u << 20) ? length : (4u << 20), MSG_TRUNC));
}

ssize_t stream_write(struct stream *stream, const void *bytes, size_t length) {
  if (stream->tls != NULL) return tls_result(stream, SSL_write(stream->tls, bytes, (int)length));
  return socket_result(send(stream->fd, bytes, length, MSG_NOSIGNAL));
}

int stream_handshake(struct stream *stream) {
  if (stream->tls == NULL) return 1;
  return (int)tls_result(stream, SSL_do_handshake(stream->tls));
}

void stream_close(struct stream *stream) {
  if (stream->tls != NULL) {
    SSL_shutdown(stream->tls);  // says close_notify; nobody waits for the other one
    SSL_free(stream->tls);
    ERR_clear_error();  // the next connection's call would take it for its own
  }
  close(stream->fd);
  *stream = (struct stream){.fd = -1};
}
