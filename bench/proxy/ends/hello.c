#include <openssl/bio.h>

#include "ends.h"

SSL_CTX *client_context(void) {
  SSL_CTX *context = SSL_CTX_new(TLS_client_method());
  // The same for every proxy: what the reference calls agreed. AES-128 first, which is the cheapest that all of them do.
  if (context == NULL || SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1 ||
      SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384") != 1 ||
      SSL_CTX_set1_groups_list(context, "X25519") != 1) {
    die("TLS client context");
  }
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_read_ahead(context, 1);
  SSL_CTX_set_default_read_buffer_len(context, 65536);
  return context;
}

size_t hello_make(SSL_CTX *context, const char *name, uint8_t *bytes, size_t most) {
  SSL *tls = SSL_new(context);
  BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
  if (tls == NULL || in == NULL || out == NULL) die("ClientHello");
  SSL_set_bio(tls, in, out);
  SSL_set_tlsext_host_name(tls, name);
  SSL_set_connect_state(tls);
  SSL_do_handshake(tls);  // gets as far as its first flight
  int length = BIO_read(out, bytes, (int)most);
  SSL_free(tls);
  return length > 0 ? (size_t)length : 0;
}
