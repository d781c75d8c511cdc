// The certificates that TLS is ended with, each in a context of its own, which has its own key for session tickets: what
// was begun under one certificate is resumed under no other.
#ifndef DSTACK_PROXY_CERTIFICATES_H
#define DSTACK_PROXY_CERTIFICATES_H

#include <openssl/ssl.h>

#include "bytes.h"

// Never changed once they are read.
struct certificates;

// The fields of COMMAND_CERTIFICATES. NULL: malformed, and `fields` failed; or one cannot be used, or no memory.
struct certificates *certificates_read(struct cursor *fields);
void certificates_free(struct certificates *certificates);
// That of the name itself, else of its parent's wildcard; NULL when there is neither, or there are no certificates.
SSL_CTX *certificates_find(const struct certificates *certificates, const char *server_name);

#endif
