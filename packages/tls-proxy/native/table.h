// A hash table whose nodes live inside what it holds. Its hash is keyed with a secret: clients choose some of the keys.
#ifndef DSTACK_PROXY_TABLE_H
#define DSTACK_PROXY_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Long enough for an id; shorter keys have zeros at their end.
#define KEY_BYTES 20

struct table_node {
  struct table_node *next;
  uint8_t key[KEY_BYTES];
};

struct table {
  struct table_node **slots;
  size_t slot_count, node_count;
  uint64_t secret[2];
};

// False: no memory, or no randomness.
bool table_init(struct table *table);
struct table_node *table_find(const struct table *table, const uint8_t key[KEY_BYTES]);
// The key must not be in it. Never fails: without memory to grow, lookups get slower.
void table_add(struct table *table, struct table_node *node);
void table_remove(struct table *table, struct table_node *node);
// Takes any node out; NULL when it is empty.
struct table_node *table_take_any(struct table *table);
// Of an empty table.
void table_free(struct table *table);

#endif
