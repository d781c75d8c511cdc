// TLS on the client's side of a connection, by OpenSSL over a BIO of our own: it reads from the socket, after the
// bytes in which the ClientHello came, and collects the records of one call to send them all at once.
#ifndef DSTACK_PROXY_TLS_H
#define DSTACK_PROXY_TLS_H

#include "certificates.h"
#include "end.h"

struct engine;
struct worker;

// False: OpenSSL is another one than we were built for, or has no memory.
bool tls_init(struct engine *engine);
void tls_free(struct engine *engine);
void tls_prepare(struct worker *worker);
// Connections from now on get these certificates, which are the engine's then.
void tls_set_certificates(struct engine *engine, struct certificates *certificates);

// Begins TLS as the server of that name.
enum tls_begin { TLS_BEGUN, TLS_NO_CERTIFICATE, TLS_NO_MEMORY };
enum tls_begin tls_begin(struct end *end, const char *server_name);
enum tls_handshake { TLS_GOES_ON, TLS_DONE, TLS_FAILED };
enum tls_handshake tls_handshake(struct end *end);
// Whether both sides have agreed on http/1.1.
bool tls_speaks_http1(const struct end *end);
// Whether bytes of the client wait inside OpenSSL.
bool tls_has_bytes(const struct end *end);
ssize_t tls_read(struct end *end, uint8_t *bytes, size_t length);
bool tls_write(struct end *end, const uint8_t *bytes, size_t length);
// Writes close_notify. False: broken.
bool tls_notify_end(struct end *end);

#endif
