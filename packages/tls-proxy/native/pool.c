#include "pool.h"

#include <stdalign.h>
#include <stdint.h>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, length) ((void)(at), (void)(length))
#define ASAN_UNPOISON_MEMORY_REGION(at, length) ((void)(at), (void)(length))
#endif

#define BLOCKS_PER_SLAB 64
// Kept for the next crowd, which comes soon.
#define MOST_EMPTY_SLABS 1

struct block {
  struct slab *slab;
  struct block *next_free;
  alignas(max_align_t) uint8_t bytes[];
};

struct slab {
  struct slab *next, **previous;  // among the usable ones
  struct block *free;
  size_t used;
  alignas(max_align_t) uint8_t blocks[];
};

struct pool pool_of(size_t bytes) {
  size_t unit = alignof(max_align_t);
  return (struct pool){.block_bytes = sizeof(struct block) + (bytes + unit - 1) / unit * unit};
}

static size_t slab_bytes(const struct pool *pool) { return sizeof(struct slab) + BLOCKS_PER_SLAB * pool->block_bytes; }

static size_t payload_bytes(const struct pool *pool) { return pool->block_bytes - sizeof(struct block); }

static void link_slab(struct pool *pool, struct slab *slab) {
  slab->next = pool->usable;
  slab->previous = &pool->usable;
  if (slab->next != NULL) slab->next->previous = &slab->next;
  pool->usable = slab;
}

static void unlink_slab(struct slab *slab) {
  *slab->previous = slab->next;
  if (slab->next != NULL) slab->next->previous = slab->previous;
}

static void put_block(const struct pool *pool, struct slab *slab, struct block *block) {
  block->slab = slab;
  block->next_free = slab->free;
  slab->free = block;
  ASAN_POISON_MEMORY_REGION(block->bytes, payload_bytes(pool));
}

static struct slab *make_slab(struct pool *pool) {
  void *memory = mmap(NULL, slab_bytes(pool), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return NULL;
  struct slab *slab = memory;
  for (size_t i = BLOCKS_PER_SLAB; i > 0; i--) {
    put_block(pool, slab, (struct block *)(slab->blocks + (i - 1) * pool->block_bytes));
  }
  link_slab(pool, slab);
  pool->empty_count++;
  return slab;
}

static void free_slab(struct pool *pool, struct slab *slab) {
  ASAN_UNPOISON_MEMORY_REGION(slab, slab_bytes(pool));
  unlink_slab(slab);
  pool->empty_count--;
  munmap(slab, slab_bytes(pool));
}

void *pool_take(struct pool *pool) {
  struct slab *slab = pool->usable == NULL ? make_slab(pool) : pool->usable;
  if (slab == NULL) return NULL;
  struct block *block = slab->free;
  slab->free = block->next_free;
  if (slab->used++ == 0) pool->empty_count--;
  if (slab->free == NULL) unlink_slab(slab);
  ASAN_UNPOISON_MEMORY_REGION(block->bytes, payload_bytes(pool));
  return block->bytes;
}

void pool_give(struct pool *pool, void *bytes) {
  struct block *block = (struct block *)((uint8_t *)bytes - offsetof(struct block, bytes));
  struct slab *slab = block->slab;
  if (slab->free == NULL) link_slab(pool, slab);
  put_block(pool, slab, block);
  if (--slab->used > 0) return;
  pool->empty_count++;
  if (pool->empty_count > MOST_EMPTY_SLABS) free_slab(pool, slab);
}

void pool_free(struct pool *pool) {
  while (pool->usable != NULL) free_slab(pool, pool->usable);
}
