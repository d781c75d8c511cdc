#include "table.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define FIRST_SLOTS 64

static uint64_t rotate(uint64_t value, int by) { return value << by | value >> (64 - by); }

static void sip_round(uint64_t v[4]) {
  v[0] += v[1], v[1] = rotate(v[1], 13) ^ v[0], v[0] = rotate(v[0], 32);
  v[2] += v[3], v[3] = rotate(v[3], 16) ^ v[2];
  v[0] += v[3], v[3] = rotate(v[3], 21) ^ v[0];
  v[2] += v[1], v[1] = rotate(v[1], 17) ^ v[2], v[2] = rotate(v[2], 32);
}

// SipHash-1-3 of a key, in words of the machine's byte order: the value never leaves the process.
static uint64_t hash(const struct table *table, const uint8_t key[KEY_BYTES]) {
  uint64_t k0 = table->secret[0], k1 = table->secret[1];
  uint64_t v[4] = {k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261, k1 ^ 0x7465646279746573};
  uint64_t words[3] = {0, 0, (uint64_t)KEY_BYTES << 56};
  memcpy(words, key, 16);
  uint32_t rest;
  memcpy(&rest, key + 16, sizeof rest);
  words[2] |= rest;
  for (size_t i = 0; i < 3; i++) {
    v[3] ^= words[i];
    sip_round(v);
    v[0] ^= words[i];
  }
  v[2] ^= 0xff;
  for (int i = 0; i < 3; i++) sip_round(v);
  return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static struct table_node **slot_of(const struct table *table, const uint8_t key[KEY_BYTES]) {
  return &table->slots[hash(table, key) & (table->slot_count - 1)];
}

bool table_init(struct table *table) {
  *table = (struct table){.slot_count = FIRST_SLOTS};
  table->slots = calloc(FIRST_SLOTS, sizeof *table->slots);
  return table->slots != NULL && getrandom(table->secret, sizeof table->secret, 0) == sizeof table->secret;
}

struct table_node *table_find(const struct table *table, const uint8_t key[KEY_BYTES]) {
  struct table_node *node = *slot_of(table, key);
  while (node != NULL && memcmp(node->key, key, KEY_BYTES) != 0) node = node->next;
  return node;
}

static void link_node(struct table *table, struct table_node *node) {
  struct table_node **slot = slot_of(table, node->key);
  node->next = *slot;
  *slot = node;
}

static void grow(struct table *table) {
  size_t old_count = table->slot_count;
  struct table_node **old = table->slots, **slots = calloc(2 * old_count, sizeof *slots);
  if (slots == NULL) return;
  table->slots = slots;
  table->slot_count = 2 * old_count;
  for (size_t i = 0; i < old_count; i++) {
    while (old[i] != NULL) {
      struct table_node *node = old[i];
      old[i] = node->next;
      link_node(table, node);
    }
  }
  free(old);
}

void table_add(struct table *table, struct table_node *node) {
  if (table->node_count >= table->slot_count) grow(table);
  link_node(table, node);
  table->node_count++;
}

void table_remove(struct table *table, struct table_node *node) {
  struct table_node **at = slot_of(table, node->key);
  while (*at != NULL && *at != node) at = &(*at)->next;
  if (*at == NULL) return;
  *at = node->next;
  table->node_count--;
}

struct table_node *table_take_any(struct table *table) {
  for (size_t i = 0; table->node_count > 0 && i < table->slot_count; i++) {
    struct table_node *node = table->slots[i];
    if (node == NULL) continue;
    table_remove(table, node);
    return node;
  }
  return NULL;
}

void table_free(struct table *table) {
  free(table->slots);
  table->slots = NULL;
}
