#include "certificates.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>

#include "connection.h"
#include "name.h"
#include "protocol.h"

// One read takes four whole records.
#define READ_AHEAD_BYTES 65536
// 1 per connection in place of 2: clients that keep several open at once get one on each.
#define TICKETS 1
// AES-128 first: as good for a session, and 6-8 % cheaper in bulk.
#define TLS13_SUITES "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define TLS12_SUITES "ECDHE+AESGCM:ECDHE+CHACHA20"

struct served_name {
  char name[MAX_NAME_BYTES + 1];
  SSL_CTX *context;
};

struct certificates {
  SSL_CTX *contexts[MAX_CERTIFICATES];
  size_t context_count;
  size_t name_count;
  struct served_name names[];  // in the order of strcmp
};

// --- a context ---

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
  // The chain is what the file says: nobody looks for issuers in each handshake.
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
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

// --- all of them ---

static bool read_names(struct certificates *certificates, struct cursor *fields, size_t count) {
  for (size_t i = 0; i < count; i++) {
    struct served_name *served = &certificates->names[i];
    struct cursor text = cursor_vector(fields, 1);
    size_t index = (size_t)cursor_uint(fields, 1);
    if (fields->failed || text.left > MAX_NAME_BYTES || index >= certificates->context_count) return false;
    memcpy(served->name, text.at, text.left);  // the rest is zero
    served->context = certificates->contexts[index];
    certificates->name_count++;
  }
  return true;
}

static int compare_names(const void *one, const void *other) {
  return strcmp(((const struct served_name *)one)->name, ((const struct served_name *)other)->name);
}

struct certificates *certificates_read(struct cursor *fields) {
  size_t count = (size_t)cursor_uint(fields, 1);
  struct cursor pems = *fields;
  for (size_t i = 0; i < count; i++) {
    struct cursor chain = cursor_vector(fields, 4), key = cursor_vector(fields, 4);
    if (chain.left > INT32_MAX || key.left > INT32_MAX) fields->failed = true;
  }
  size_t name_count = (size_t)cursor_uint(fields, 4);
  if (count > MAX_CERTIFICATES || name_count > MAX_CERTIFICATE_NAMES) fields->failed = true;
  if (fields->failed) return NULL;
  struct certificates *made = calloc(1, sizeof *made + name_count * sizeof *made->names);
  if (made == NULL) return NULL;
  while (made->context_count < count) {
    struct cursor chain = cursor_vector(&pems, 4), key = cursor_vector(&pems, 4);
    SSL_CTX *context = make_context(chain, key);
    if (context == NULL) {
      certificates_free(made);
      return NULL;
    }
    made->contexts[made->context_count++] = context;
  }
  if (!read_names(made, fields, name_count)) {
    fields->failed = true;
    certificates_free(made);
    return NULL;
  }
  qsort(made->names, made->name_count, sizeof *made->names, compare_names);
  return made;
}

void certificates_free(struct certificates *certificates) {
  if (certificates == NULL) return;
  for (size_t i = 0; i < certificates->context_count; i++) SSL_CTX_free(certificates->contexts[i]);
  free(certificates);
}

static SSL_CTX *find(const struct certificates *certificates, const struct served_name *sought) {
  const struct served_name *found =
      bsearch(sought, certificates->names, certificates->name_count, sizeof *sought, compare_names);
  return found == NULL ? NULL : found->context;
}

SSL_CTX *certificates_find(const struct certificates *certificates, const char *server_name) {
  struct served_name sought = {0};
  size_t length = strlen(server_name);
  const char *parent = strchr(server_name, '.');
  if (certificates == NULL || length > MAX_NAME_BYTES || parent == NULL) return NULL;
  memcpy(sought.name, server_name, length);
  SSL_CTX *own = find(certificates, &sought);
  if (own != NULL) return own;
  // One whole label (RFC 9525 §6.3), which is never empty: there is room for the asterisk.
  sought = (struct served_name){.name = "*"};
  memcpy(sought.name + 1, parent, length - (size_t)(parent - server_name));
  return find(certificates, &sought);
}
