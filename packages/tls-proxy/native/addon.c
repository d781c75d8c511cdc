// The engine inside a Node process that does nothing else, for the OpenSSL that is in it.
#include <node_api.h>

#include "engine.h"

// run(controlFd): gives back the exit code, at the end of the engine's life.
static napi_value run(napi_env env, napi_callback_info info) {
  napi_value arguments[1], result;
  size_t count = 1;
  int32_t fd;
  if (napi_get_cb_info(env, info, &count, arguments, NULL, NULL) != napi_ok || count != 1 ||
      napi_get_value_int32(env, arguments[0], &fd) != napi_ok || fd < 0) {
    napi_throw_type_error(env, NULL, "run takes the descriptor of the control stream");
    return NULL;
  }
  return napi_create_int32(env, engine_run(fd), &result) == napi_ok ? result : NULL;
}

NAPI_MODULE_INIT() {
  napi_value function;
  if (napi_create_function(env, "run", NAPI_AUTO_LENGTH, run, NULL, &function) != napi_ok ||
      napi_set_named_property(env, exports, "run", function) != napi_ok) {
    return NULL;
  }
  return exports;
}
