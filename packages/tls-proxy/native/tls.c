#include "tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>
#include <sys/socket.h>

#include "connection.h"
#include "engine.h"

// One read takes four whole records.
#define READ_AHEAD_BYTES 65536
// 1 per connection in place of 2: clients that keep several open at once get one on each.
#define TICKETS 1
// AES-128 first: as good for a session, and 6-8 % cheaper in bulk.
#define TLS13_SUITES "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define TLS12_SUITES "ECDHE+AESGCM:ECDHE+CHACHA20"
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
  SSL_CTX_free(engine->tls);
  BIO_meth_free(engine->tls_bio);
}

void tls_prepare(struct worker *worker) { worker->records.most = RECORDS_BYTES; }

// --- certificate ---

static bool is_offered(const char *protocol, const unsigned char *offered, size_t length) {
  struct cursor list = cursor_over(offered, length);
  while (list.left > 0) {
    struct cursor one = cursor_vector(&list, 1);
    if (one.left == strlen(protocol) && memcmp(one.at, protocol, one.left) == 0) return true;
  }
  return false;
}

// We forward bytes, so HTTP/2 may only be agreed on where the app speaks it in clear text, which `g` names say; and not
// with a browser, which would send other apps' requests along on a connection whose certificate is theirs, too
// (docs/decisions/http2-coalescing.md): every browser also offers http/1.1.
static int choose_protocol(SSL *ssl, const unsigned char **chosen, unsigned char *length, const unsigned char *offered,
                           unsigned int offered_length, void *unused) {
  static const unsigned char h2[] = "\x02h2", http1[] = "\x08http/1.1";
  const struct end *end = SSL_get_app_data(ssl);
  bool is_http2 = end->connection->mode == MODE_HTTP2;
  unsigned char *found;
  (void)unused;
  if (is_http2 && is_offered("http/1.1", offered, offered_length)) return SSL_TLSEXT_ERR_ALERT_FATAL;
  int result = SSL_select_next_proto(&found, length, is_http2 ? h2 : http1,
                                     (unsigned int)(is_http2 ? sizeof h2 : sizeof http1) - 1, offered, offered_length);
  *chosen = found;
  if (result == OPENSSL_NPN_NEGOTIATED) return SSL_TLSEXT_ERR_OK;
  return is_http2 ? SSL_TLSEXT_ERR_ALERT_FATAL : SSL_TLSEXT_ERR_NOACK;  // not everything is HTTP
}

static bool use_chain(SSL_CTX *context, struct cursor pem) {
  BIO *bio = BIO_new_mem_buf(pem.at, (int)pem.left);
  X509 *certificate;
  size_t count = 0;
  bool good = bio != NULL;
  while (good && (certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
    good = (count == 0 ? SSL_CTX_use_certificate(context, certificate)
                       : (int)SSL_CTX_add1_chain_cert(context, certificate)) == 1;
    X509_free(certificate);
    count++;
  }
  BIO_free(bio);
  return good && count > 0;
}

static bool use_key(SSL_CTX *context, struct cursor pem) {
  BIO *bio = BIO_new_mem_buf(pem.at, (int)pem.left);
  EVP_PKEY *key = bio == NULL ? NULL : PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
  bool good = key != NULL && SSL_CTX_use_PrivateKey(context, key) == 1 && SSL_CTX_check_private_key(context) == 1;
  EVP_PKEY_free(key);
  BIO_free(bio);
  return good;
}

static SSL_CTX *make_context(struct cursor chain_pem, struct cursor key_pem) {
  static const unsigned char session_context[] = "dstack tproxy";
  SSL_CTX *context = SSL_CTX_new(TLS_server_method());
  if (context == NULL) return NULL;
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_NO_COMPRESSION |
                                   SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);  // sessions travel in tickets
  SSL_CTX_set_read_ahead(context, 1);
  SSL_CTX_set_default_read_buffer_len(context, READ_AHEAD_BYTES);
  SSL_CTX_set_alpn_select_cb(context, choose_protocol, NULL);
  bool good = SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1 &&
              SSL_CTX_set_ciphersuites(context, TLS13_SUITES) == 1 &&
              SSL_CTX_set_cipher_list(context, TLS12_SUITES) == 1 && SSL_CTX_set_num_tickets(context, TICKETS) == 1 &&
              SSL_CTX_set_session_id_context(context, session_context, sizeof session_context - 1) == 1 &&
              use_chain(context, chain_pem) && use_key(context, key_pem);
  ERR_clear_error();
  if (good) return context;
  SSL_CTX_free(context);
  return NULL;
}

bool tls_set_certificate(struct engine *engine, struct cursor chain_pem, struct cursor key_pem) {
  if (chain_pem.left > INT32_MAX || key_pem.left > INT32_MAX) return false;
  SSL_CTX *context = make_context(chain_pem, key_pem);
  if (context == NULL) return false;
  pthread_mutex_lock(&engine->tls_lock);
  SSL_CTX *before = engine->tls;
  engine->tls = context;
  pthread_mutex_unlock(&engine->tls_lock);
  SSL_CTX_free(before);  // open connections hold on to theirs
  return true;
}

bool tls_has_certificate(struct engine *engine) {
  pthread_mutex_lock(&engine->tls_lock);
  bool has = engine->tls != NULL;
  pthread_mutex_unlock(&engine->tls_lock);
  return has;
}

// --- connections ---

bool tls_begin(struct end *end) {
  struct engine *engine = end->connection->worker->engine;
  BIO *bio = BIO_new(engine->tls_bio);
  pthread_mutex_lock(&engine->tls_lock);
  SSL *ssl = bio == NULL ? NULL : SSL_new(engine->tls);
  pthread_mutex_unlock(&engine->tls_lock);
  if (ssl == NULL) {
    BIO_free(bio);
    ERR_clear_error();
    return false;
  }
  BIO_set_data(bio, end);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl, bio, bio);
  SSL_set_app_data(ssl, end);
  SSL_set_accept_state(ssl);
  end->tls = ssl;
  return true;
}

// Sends what the last call of OpenSSL has written. False: broken, or no memory.
static bool send_records(struct end *end) {
  struct buffer *records = &end->connection->worker->records;
  bool good = !records->failed && end_write_raw(end, records->bytes, records->length);
  records->length = 0;  // the memory stays for the next call
  records->failed = false;
  ERR_clear_error();
  return good;
}

enum tls_handshake tls_handshake(struct end *end) {
  int result = SSL_do_handshake(end->tls);
  bool waits = result != 1 && SSL_get_error(end->tls, result) == SSL_ERROR_WANT_READ;
  bool sent = send_records(end);
  if (!sent || (result != 1 && !waits)) return TLS_FAILED;
  return result == 1 ? TLS_DONE : TLS_GOES_ON;
}

bool tls_speaks_http1(const struct end *end) {
  const unsigned char *protocol;
  unsigned int length;
  SSL_get0_alpn_selected(end->tls, &protocol, &length);
  return length == 8 && memcmp(protocol, "http/1.1", 8) == 0;
}

ssize_t tls_read(struct end *end, uint8_t *bytes, size_t length) {
  size_t filled = 0;
  int error = SSL_ERROR_NONE;
  while (filled < length && error == SSL_ERROR_NONE) {
    size_t count = 0;
    int result = SSL_read_ex(end->tls, bytes + filled, length - filled, &count);
    if (result != 1) error = SSL_get_error(end->tls, result);
    filled += count;
  }
  if (!send_records(end)) return END_BROKEN;  // alerts, answers to key updates
  if (filled > 0) return (ssize_t)filled;
  if (error == SSL_ERROR_ZERO_RETURN) return 0;
  return error == SSL_ERROR_WANT_READ ? END_AGAIN : END_BROKEN;
}

bool tls_write(struct end *end, const uint8_t *bytes, size_t length) {
  size_t written = 0;
  bool good = SSL_write_ex(end->tls, bytes, length, &written) == 1 && written == length;
  return send_records(end) && good;
}

bool tls_notify_end(struct end *end) {
  bool good = SSL_shutdown(end->tls) >= 0;
  return send_records(end) && good;
}
