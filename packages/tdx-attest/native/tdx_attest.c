// What Node cannot do itself for TDX: two ioctls on /dev/tdx_guest and one exchange over AF_VSOCK.
// Each call copies its arguments, runs in libuv's thread pool and settles a promise; the pool never touches JS. No call
// holds a thread of the pool beyond its time limit: Node waits for them all when it ends.
#include <errno.h>
#include <node_api.h>
#include <stdlib.h>
#include <string.h>

#include "operations.h"

typedef struct {
  napi_async_work work;
  napi_deferred deferred;
  enum { GET_REPORT, EXTEND_RTMR, QGS_REQUEST } kind;
  char path[TDX_PATH_MAX];
  uint32_t index, cid, port, timeout_ms, max_bytes;
  uint8_t input[TDX_REPORT_DATA_BYTES];
  uint8_t *message;
  size_t message_length;
  struct tdx_result result;
} request;

static void free_request(napi_env env, request *r) {
  if (r->work != NULL) napi_delete_async_work(env, r->work);
  free(r->message);
  free(r->result.data);
  free(r);
}

static void execute(napi_env env, void *data) {
  (void)env;
  request *r = data;
  switch (r->kind) {
    case GET_REPORT:
      tdx_get_report(r->path, r->input, r->timeout_ms, &r->result);
      break;
    case EXTEND_RTMR:
      tdx_extend_rtmr(r->path, (uint8_t)r->index, r->input, r->timeout_ms, &r->result);
      break;
    case QGS_REQUEST:
      qgs_exchange(r->cid, r->port, r->message, r->message_length, r->timeout_ms, r->max_bytes, &r->result);
      break;
  }
}

static void set_text(napi_env env, napi_value object, const char *name, const char *text) {
  napi_value value;
  if (napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &value) == napi_ok) {
    napi_set_named_property(env, object, name, value);
  }
}

static napi_value system_error(napi_env env, const request *r) {
  const char *code = tdx_errno_name(r->result.error);
  char text[TDX_PATH_MAX + 256];
  napi_value message, error, number;
  snprintf(text, sizeof text, "%s: %s, %s%s%s", code, strerror(r->result.error), r->result.syscall,
           r->path[0] == '\0' ? "" : " ", r->path);
  napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &message);
  napi_create_error(env, NULL, message, &error);
  set_text(env, error, "code", code);
  set_text(env, error, "syscall", r->result.syscall);
  if (r->path[0] != '\0') set_text(env, error, "path", r->path);
  napi_create_int32(env, -r->result.error, &number);  // negative, as in the errors of Node itself
  napi_set_named_property(env, error, "errno", number);
  return error;
}

static void complete(napi_env env, napi_status status, void *data) {
  request *r = data;
  if (status != napi_ok && r->result.error == 0) {
    r->result.error = ECANCELED;
    r->result.syscall = "queue";
  }
  if (r->result.error != 0) {
    napi_reject_deferred(env, r->deferred, system_error(env, r));
  } else if (r->kind == EXTEND_RTMR) {
    napi_value nothing;
    napi_get_undefined(env, &nothing);
    napi_resolve_deferred(env, r->deferred, nothing);
  } else {
    napi_value buffer;
    if (napi_create_buffer_copy(env, r->result.length, r->result.data, NULL, &buffer) == napi_ok) {
      napi_resolve_deferred(env, r->deferred, buffer);
    } else {
      r->result.error = ENOMEM;
      r->result.syscall = "napi_create_buffer_copy";
      napi_reject_deferred(env, r->deferred, system_error(env, r));
    }
  }
  free_request(env, r);
}

// Reads a Uint8Array; false with a RangeError thrown unless its length is within the bounds.
static bool bytes_argument(napi_env env, napi_value value, size_t least, size_t most, const char *complaint,
                           const uint8_t **data, size_t *length) {
  bool is_array = false;
  napi_typedarray_type type;
  void *start = NULL;
  napi_value buffer;
  size_t offset;
  if (napi_is_typedarray(env, value, &is_array) == napi_ok && is_array &&
      napi_get_typedarray_info(env, value, &type, length, &start, &buffer, &offset) == napi_ok &&
      type == napi_uint8_array && *length >= least && *length <= most) {
    *data = start;
    return true;
  }
  napi_throw_range_error(env, NULL, complaint);
  return false;
}

static bool path_argument(napi_env env, napi_value value, char path[TDX_PATH_MAX]) {
  size_t length = 0;
  if (napi_get_value_string_utf8(env, value, NULL, 0, &length) == napi_ok && length > 0 && length < TDX_PATH_MAX &&
      napi_get_value_string_utf8(env, value, path, TDX_PATH_MAX, &length) == napi_ok && strlen(path) == length) {
    return true;
  }
  napi_throw_range_error(env, NULL, "the path must be text of at most 4095 bytes");
  return false;
}

static bool number_argument(napi_env env, napi_value value, double least, double most, const char *complaint,
                            uint32_t *number) {
  double given = 0;
  if (napi_get_value_double(env, value, &given) == napi_ok && given >= least && given <= most &&
      given == (double)(uint32_t)given) {
    *number = (uint32_t)given;
    return true;
  }
  napi_throw_range_error(env, NULL, complaint);
  return false;
}

static napi_value out_of_memory(napi_env env, request *r) {
  if (r != NULL) free_request(env, r);
  napi_throw_error(env, "ENOMEM", "out of memory");
  return NULL;
}

static napi_value start(napi_env env, request *r) {
  napi_value promise, name;
  if (napi_create_string_utf8(env, "tdx_attest", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_create_async_work(env, NULL, name, execute, complete, r, &r->work) != napi_ok ||
      napi_create_promise(env, &r->deferred, &promise) != napi_ok) {
    return out_of_memory(env, r);
  }
  if (napi_queue_async_work(env, r->work) != napi_ok) return out_of_memory(env, r);
  return promise;
}

static bool timeout_argument(napi_env env, napi_value value, uint32_t *timeout_ms) {
  return number_argument(env, value, 1, 600000, "the time limit must be 1 ms to 10 minutes", timeout_ms);
}

// getReport(path, reportData, timeoutMs)
static napi_value get_report(napi_env env, napi_callback_info info) {
  napi_value args[3];
  size_t count = 3, length;
  const uint8_t *data;
  request *r = calloc(1, sizeof *r);
  if (r == NULL || napi_get_cb_info(env, info, &count, args, NULL, NULL) != napi_ok) return out_of_memory(env, r);
  r->kind = GET_REPORT;
  if (!path_argument(env, args[0], r->path) ||
      !bytes_argument(env, args[1], TDX_REPORT_DATA_BYTES, TDX_REPORT_DATA_BYTES, "report data must be 64 bytes", &data,
                      &length) ||
      !timeout_argument(env, args[2], &r->timeout_ms)) {
    free_request(env, r);
    return NULL;
  }
  memcpy(r->input, data, length);
  return start(env, r);
}

// extendRtmr(path, index, digest, timeoutMs)
static napi_value extend_rtmr(napi_env env, napi_callback_info info) {
  napi_value args[4];
  size_t count = 4, length;
  const uint8_t *data;
  request *r = calloc(1, sizeof *r);
  if (r == NULL || napi_get_cb_info(env, info, &count, args, NULL, NULL) != napi_ok) return out_of_memory(env, r);
  r->kind = EXTEND_RTMR;
  if (!path_argument(env, args[0], r->path) ||
      !number_argument(env, args[1], 0, 3, "the index of a register is 0 to 3", &r->index) ||
      !bytes_argument(env, args[2], TDX_DIGEST_BYTES, TDX_DIGEST_BYTES, "a digest must be 48 bytes", &data, &length) ||
      !timeout_argument(env, args[3], &r->timeout_ms)) {
    free_request(env, r);
    return NULL;
  }
  memcpy(r->input, data, length);
  return start(env, r);
}

// qgsRequest(cid, port, message, timeoutMs, maxBytes)
static napi_value qgs_request(napi_env env, napi_callback_info info) {
  napi_value args[5];
  size_t count = 5;
  const uint8_t *data;
  request *r = calloc(1, sizeof *r);
  if (r == NULL || napi_get_cb_info(env, info, &count, args, NULL, NULL) != napi_ok) return out_of_memory(env, r);
  r->kind = QGS_REQUEST;
  if (!number_argument(env, args[0], 0, UINT32_MAX, "the CID must be 32 bits", &r->cid) ||
      !number_argument(env, args[1], 0, UINT32_MAX, "the port must be 32 bits", &r->port) ||
      !bytes_argument(env, args[2], 1, QGS_MAX_BYTES, "a message has 1 byte to 1 MiB", &data, &r->message_length) ||
      !timeout_argument(env, args[3], &r->timeout_ms) ||
      !number_argument(env, args[4], 1, QGS_MAX_BYTES, "the size limit must be 1 byte to 1 MiB", &r->max_bytes)) {
    free_request(env, r);
    return NULL;
  }
  r->message = malloc(r->message_length);
  if (r->message == NULL) return out_of_memory(env, r);
  memcpy(r->message, data, r->message_length);
  return start(env, r);
}

NAPI_MODULE_INIT() {
  const napi_property_descriptor functions[] = {
      {"getReport", NULL, get_report, NULL, NULL, NULL, napi_enumerable, NULL},
      {"extendRtmr", NULL, extend_rtmr, NULL, NULL, NULL, napi_enumerable, NULL},
      {"qgsRequest", NULL, qgs_request, NULL, NULL, NULL, napi_enumerable, NULL},
  };
  if (napi_define_properties(env, exports, sizeof functions / sizeof *functions, functions) != napi_ok) return NULL;
  return exports;
}
