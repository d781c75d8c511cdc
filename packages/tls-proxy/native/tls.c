#include "tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <string.h>
#include <sys/socket.h>

#include "connection.h"
#include "engine.h"

// Records of one read, their headers and tags, and room for tickets and alerts.
#define RECORDS_BYTES (SCRATCH_BYTES + (64u << 10))

// OPENSSL_VERSION_NUMBER is 0xMNN00PP0.
#define MAJOR_VERSION_SHIFT 28
#define MINOR_VERSION_SHIFT 20

// --- BIO ---

static int bio_write(BIO *bio, const char *bytes, int length) {
  struct end *end = BIO_get_data(bio);
  struct buffer *records = &end->connection->worker->records;
  BIO_clear_retry_flags(bio);
  if (length <= 0) return 0;
  buffer_put(records, bytes, (size_t)length);
  return records->failed ? -1 : length;
}

static int bio_read(BIO *bio, char *bytes, int length) {
  struct end *end = BIO_get_data(bio);
  struct opening *opening = end->connection->opening;
  BIO_clear_retry_flags(bio);
  if (length <= 0) return 0;
  if (opening != NULL && opening->hello.length > 0) {
    struct buffer *hello = &opening->hello;
    size_t take = hello->length < (size_t)length ? hello->length : (size_t)length;
    memcpy(bytes, hello->bytes, take);
    buffer_drop(hello, take);
    return (int)take;
  }
  while (end->can_read && !end->read_ended) {
    ssize_t count = recv(end->watch.fd, bytes, (size_t)length, 0);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno != EAGAIN) {
      end->broken = true;
      return -1;
    }
    if (count < 0 || (count > 0 && count < length && !end->hung_up)) end_is_dry(end);
    if (count < 0) break;
    if (count == 0) end->read_ended = true;
    return (int)count;
  }
  if (end->read_ended) return 0;
  BIO_set_retry_read(bio);
  return -1;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer) {
  const struct end *end = BIO_get_data(bio);
  (void)number;
  (void)pointer;
  if (command == BIO_CTRL_FLUSH) return 1;  // we do, after each call of OpenSSL
  if (command == BIO_CTRL_EOF) return end->read_ended;
  return 0;
}

bool tls_init(struct engine *engine) {
  // Functions only, and opaque types: a later minor version is compatible, another major one is not.
  unsigned long built = OPENSSL_VERSION_NUMBER, there = OpenSSL_version_num();
  if (there >> MAJOR_VERSION_SHIFT != built >> MAJOR_VERSION_SHIFT ||
      there >> MINOR_VERSION_SHIFT < built >> MINOR_VERSION_SHIFT) {
    return false;
  }
  engine->tls_bio = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "dstack proxy");
  return engine->tls_bio != NULL && BIO_meth_set_write(engine->tls_bio, bio_write) == 1 &&
         BIO_meth_set_read(engine->tls_bio, bio_read) == 1 && BIO_meth_set_ctrl(engine->tls_bio, bio_ctrl) == 1;
}

void tls_free(struct engine *engine) {
  certificates_free(engine->certificates);
  BIO_meth_free(engine->tls_bio);
}

void tls_prepare(struct worker *worker) { worker->records.most = RECORDS_BYTES; }

void tls_set_certificates(struct engine *engine, struct certificates *certificates) {
  pthread_mutex_lock(&engine->tls_lock);
  struct certificates *before = engine->certificates;
  engine->certificates = certificates;
  pthread_mutex_unlock(&engine->tls_lock);
  certificates_free(before);  // open connections hold on to theirs
}

// --- connections ---

enum tls_begin tls_begin(struct end *end, const char *server_name) {
  struct engine *engine = end->connection->worker->engine;
  BIO *bio = BIO_new(engine->tls_bio);
  pthread_mutex_lock(&engine->tls_lock);
  SSL_CTX *context = certificates_find(engine->certificates, server_name);
  SSL *ssl = bio == NULL || context == NULL ? NULL : SSL_new(context);
  pthread_mutex_unlock(&engine->tls_lock);
  if (ssl == NULL) {
    BIO_free(bio);
    ERR_clear_error();
    return context == NULL ? TLS_NO_CERTIFICATE : TLS_NO_MEMORY;
  }
  BIO_set_data(bio, end);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl, bio, bio);
  SSL_set_app_data(ssl, end);
  SSL_set_accept_state(ssl);
  end->tls = ssl;
  return TLS_BEGUN;
}

// Sends what the last call of OpenSSL has written. False: broken, or no memory.
static bool send_records(struct end *end, enum urgency urgency) {
  struct buffer *records = &end->connection->worker->records;
  bool good = !records->failed && end_write_raw(end, records->bytes, records->length, urgency);
  records->length = 0;  // the memory stays for the next call
  records->failed = false;
  ERR_clear_error();
  return good;
}

enum tls_handshake tls_handshake(struct end *end) {
  int result = SSL_do_handshake(end->tls);
  bool waits = result != 1 && SSL_get_error(end->tls, result) == SSL_ERROR_WANT_READ;
  // In TLS 1.3 nothing is left to say by now but a session ticket, for which nobody waits: it goes with the first answer.
  bool is_ticket = result == 1 && SSL_version(end->tls) == TLS1_3_VERSION;
  bool sent = send_records(end, is_ticket ? SEND_WITH_NEXT : SEND_NOW);
  if (!sent || (result != 1 && !waits)) return TLS_FAILED;
  return result == 1 ? TLS_DONE : TLS_GOES_ON;
}

bool tls_speaks_http1(const struct end *end) {
  const unsigned char *protocol;
  unsigned int length;
  SSL_get0_alpn_selected(end->tls, &protocol, &length);
  return length == 8 && memcmp(protocol, "http/1.1", 8) == 0;
}

bool tls_has_bytes(const struct end *end) { return SSL_has_pending(end->tls) == 1; }

ssize_t tls_read(struct end *end, uint8_t *bytes, size_t length) {
  size_t filled = 0;
  int error = SSL_ERROR_NONE;
  while (filled < length && error == SSL_ERROR_NONE) {
    size_t count = 0;
    int result = SSL_read_ex(end->tls, bytes + filled, length - filled, &count);
    if (result != 1) error = SSL_get_error(end->tls, result);
    filled += count;
  }
  if (!send_records(end, SEND_NOW)) return END_BROKEN;  // alerts, answers to key updates
  if (filled > 0) return (ssize_t)filled;
  if (error == SSL_ERROR_ZERO_RETURN) return 0;
  return error == SSL_ERROR_WANT_READ ? END_AGAIN : END_BROKEN;
}

bool tls_write(struct end *end, const uint8_t *bytes, size_t length) {
  size_t written = 0;
  bool good = SSL_write_ex(end->tls, bytes, length, &written) == 1 && written == length;
  return send_records(end, SEND_NOW) && good;
}

bool tls_notify_end(struct end *end) {
  bool good = SSL_shutdown(end->tls) >= 0;
  return send_records(end, SEND_WITH_NEXT) && good;  // the socket's end follows
}
