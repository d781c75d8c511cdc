// Blocks of one size for what lives shortly, apart from the heap. There, what lives longer would come to lie between,
// and a crowd that has come at once would leave its holes behind for good; a slab goes back to the system when all of its
// blocks are free.
#ifndef DSTACK_PROXY_POOL_H
#define DSTACK_PROXY_POOL_H

#include <stddef.h>

struct slab;

struct pool {
  size_t block_bytes;
  struct slab *usable;  // those with a free block
  size_t empty_count;   // how many of them have no other
};

// For blocks with room for `bytes`.
struct pool pool_of(size_t bytes);
// Its bytes are not set to anything. NULL: no memory.
void *pool_take(struct pool *pool);
void pool_give(struct pool *pool, void *bytes);
// Once all blocks have been given back.
void pool_free(struct pool *pool);

#endif
