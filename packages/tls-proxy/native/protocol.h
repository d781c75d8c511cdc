// What the control plane and the engine say to each other over a stream socket. A frame is its length (4 bytes, of what
// follows), a type (1 byte) and fields: big-endian numbers, ids of 20 bytes, texts with their length in front.
// ../src/native/commands.ts and events.ts are the other side.
#ifndef DSTACK_PROXY_PROTOCOL_H
#define DSTACK_PROXY_PROTOCOL_H

// A whole routing table is one frame: what it changes, it changes at once.
#define MAX_FRAME_BYTES (64u << 20)
#define MAX_LISTENERS 16
#define MAX_THREADS 16
#define MAX_BASE_DOMAINS 64
#define MAX_PORT_RANGES 64
#define MAX_CERTIFICATES 64
#define MAX_CERTIFICATE_NAMES 65536
#define MAX_PREFIXES 32
#define MAX_HEADER_PORTS 18  // an app's 16, and its guest agent's two
#define MAX_PUBLIC_PORTS 66
#define ALL_PORTS 0xff  // in place of a count of them

enum command {
  COMMAND_START = 1,        // limits, threads, whether to accept yet, listeners
  COMMAND_ROUTES = 2,       // base domains, port ranges, ids gone, ids with their backends
  COMMAND_CERTIFICATES = 3,  // chains and keys, names with the index of their certificate
  COMMAND_FOUND = 4,        // answer to EVENT_LOOKUP: its number, whether there is anything, id, port
  COMMAND_STOP = 5,         // end everything, then the process
  // These have a number, which their answer repeats. Each thread answers.
  COMMAND_LIST = 6,       // number, how many at most; answered by EVENT_CONNECTIONS
  COMMAND_ACCEPTING = 7,  // number, whether to; answered by EVENT_DONE
  COMMAND_END = 8,        // number, whether only those of an instance, its id; answered by EVENT_DONE
};

enum event {
  EVENT_STARTED = 1,  // the ports that were bound
  EVENT_FAILED = 2,   // errno, which listener
  EVENT_LOOKUP = 3,   // number, domain, source
  EVENT_COUNTS = 4,   // open now, and the apps and instances whose counts have changed
  EVENT_REPORTS = 5,  // connections that are over, one after the other
  EVENT_REFUSED_CERTIFICATES = 6,
  EVENT_CONNECTIONS = 7,  // number, open connections
  EVENT_DONE = 8,         // number
};

enum outcome {
  OUTCOME_FINISHED,
  OUTCOME_RESET,
  OUTCOME_IDLE,
  OUTCOME_TOTAL_TIME,
  OUTCOME_DRAINED,
  OUTCOME_SHUTDOWN,
  OUTCOME_BAD_PROXY_HEADER,
  OUTCOME_NOT_TLS,
  OUTCOME_PLAIN_HTTP,
  OUTCOME_BAD_HELLO,
  OUTCOME_SLOW_HELLO,
  OUTCOME_NO_NAME,
  OUTCOME_UNKNOWN_NAME,
  OUTCOME_PORT_NOT_ALLOWED,
  OUTCOME_TOO_MANY,
  OUTCOME_TOO_MANY_OF_SOURCE,
  OUTCOME_TOO_MANY_OF_APP,
  OUTCOME_HANDSHAKE_FAILED,
  OUTCOME_CONNECT_FAILED,
  OUTCOME_CLIENT_GONE,
  OUTCOME_INTERNAL_ERROR,
};

#endif
