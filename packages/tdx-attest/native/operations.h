// The blocking operations, free of Node.
#ifndef DSTACK_TDX_OPERATIONS_H
#define DSTACK_TDX_OPERATIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define TDX_PATH_MAX 4096
#define TDX_REPORT_DATA_BYTES 64
#define TDX_REPORT_BYTES 1024
#define TDX_DIGEST_BYTES 48
#define QGS_MAX_BYTES (1024 * 1024)

// error is an errno, 0 for success; then data (malloc) and length hold what came back, if anything does.
struct tdx_result {
  int error;
  const char *syscall;
  uint8_t *data;
  size_t length;
};

void tdx_get_report(const char *path, const uint8_t report_data[TDX_REPORT_DATA_BYTES], uint32_t timeout_ms,
                    struct tdx_result *result);
void tdx_extend_rtmr(const char *path, uint8_t index, const uint8_t digest[TDX_DIGEST_BYTES], uint32_t timeout_ms,
                     struct tdx_result *result);
void qgs_exchange(uint32_t cid, uint32_t port, const uint8_t *message, size_t length, uint32_t timeout_ms,
                  size_t max_bytes, struct tdx_result *result);
const char *tdx_errno_name(int error);

#endif
