// Work that may hang in the kernel, done within a time limit.
#ifndef DSTACK_TDX_LIMITED_H
#define DSTACK_TDX_LIMITED_H

#include <stdint.h>

// No errno: drivers answer ETIMEDOUT too.
#define LIMIT_PASSED (-1)

// Calls work(data) in a thread of its own and gives its answer, 0 or an errno, or LIMIT_PASSED. data comes from malloc
// and stays the caller's, except after LIMIT_PASSED: the thread is still busy then, and frees it in the end. As long as
// such a thread is left, EBUSY answers every further call at once: a device that hangs costs one thread.
int run_limited(int (*work)(void *data), void *data, uint32_t timeout_ms);

#endif
