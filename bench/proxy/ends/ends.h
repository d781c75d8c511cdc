// The two ends of a measured connection: a client that makes the load, and the app it is for. A request is REQUEST_BYTES
// long, beginning with the length of the answer that is wanted (8 bytes, big-endian); the answer is as many zeros.
#ifndef DSTACK_BENCH_ENDS_H
#define DSTACK_BENCH_ENDS_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define REQUEST_BYTES 64
#define CHUNK_BYTES (256u << 10)

// What a connection speaks. Canned: a real ClientHello for the proxy to read, and clear text after it, so that what the
// ends would spend on cryptography does not hide what the proxy costs.
enum speech { SPEECH_CANNED, SPEECH_TLS, SPEECH_RESUMED };

struct stream {
  int fd;
  SSL *tls;  // NULL: in clear
};

#define STREAM_AGAIN (-1)
#define STREAM_BROKEN (-2)

// stream.c: bytes in clear or inside TLS, on a socket that does not block.
// How many bytes; 0 at the end of the data; STREAM_AGAIN; STREAM_BROKEN.
ssize_t stream_read(struct stream *stream, void *bytes, size_t length);
// Reads as much and throws it away, in clear without copying it.
ssize_t stream_discard(struct stream *stream, size_t length);
ssize_t stream_write(struct stream *stream, const void *bytes, size_t length);
// 1 when it is done; STREAM_AGAIN; STREAM_BROKEN.
int stream_handshake(struct stream *stream);
void stream_close(struct stream *stream);

// hello.c
SSL_CTX *client_context(void);
// A ClientHello that asks for `name`, as OpenSSL writes it. Gives back its length, 0 on failure.
size_t hello_make(SSL_CTX *context, const char *name, uint8_t *bytes, size_t most);

// backend.c, load.c, names.c
int backend_main(int argc, char **argv);
int load_main(int argc, char **argv);

// The names of an argument: itself, or with "@" in front the lines of a file. Ends the process when there is none.
char **names_read(const char *argument, size_t *count);

uint64_t now_ns(void);
_Noreturn void die(const char *what);

#endif
