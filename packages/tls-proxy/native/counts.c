#include "counts.h"

#include <stdlib.h>
#include <string.h>

bool counts_init(struct counts *counts, uint32_t limit, bool told) {
  *counts = (struct counts){.lock = PTHREAD_MUTEX_INITIALIZER, .limit = limit, .told = told};
  return table_init(&counts->table);
}

static void note_change(struct counts *counts, struct count *count) {
  if (!counts->told || count->changed) return;
  count->changed = true;
  count->next_changed = counts->changed;
  counts->changed = count;
}

static void free_unused(struct counts *counts, struct count *count) {
  if (count->open > 0 || count->changed) return;
  table_remove(&counts->table, &count->node);
  free(count);
}

static struct count *enter(struct counts *counts, const uint8_t key[KEY_BYTES]) {
  struct count *count = (struct count *)table_find(&counts->table, key);
  if (count == NULL) {
    if (counts->limit == 0) return NULL;
    count = calloc(1, sizeof *count);
    if (count == NULL) return NULL;
    memcpy(count->node.key, key, KEY_BYTES);
    table_add(&counts->table, &count->node);
  }
  if (count->open >= counts->limit) return NULL;
  count->open++;
  note_change(counts, count);
  return count;
}

struct count *counts_enter(struct counts *counts, const uint8_t key[KEY_BYTES]) {
  pthread_mutex_lock(&counts->lock);
  struct count *count = enter(counts, key);
  pthread_mutex_unlock(&counts->lock);
  return count;
}

void counts_leave(struct counts *counts, struct count *count) {
  pthread_mutex_lock(&counts->lock);
  count->open--;
  note_change(counts, count);
  free_unused(counts, count);
  pthread_mutex_unlock(&counts->lock);
}

bool counts_have_changed(struct counts *counts) {
  pthread_mutex_lock(&counts->lock);
  bool changed = counts->changed != NULL;
  pthread_mutex_unlock(&counts->lock);
  return changed;
}

bool counts_next_change(struct counts *counts, uint8_t key[KEY_BYTES], uint32_t *open) {
  pthread_mutex_lock(&counts->lock);
  struct count *count = counts->changed;
  if (count != NULL) {
    counts->changed = count->next_changed;
    count->changed = false;
    memcpy(key, count->node.key, KEY_BYTES);
    *open = count->open;
    free_unused(counts, count);
  }
  pthread_mutex_unlock(&counts->lock);
  return count != NULL;
}

void counts_free(struct counts *counts) {
  struct table_node *node;
  while ((node = table_take_any(&counts->table)) != NULL) free(node);
  table_free(&counts->table);
}
