// Counts what is open by key, for all threads, and remembers which counts have changed since they were last told.
#ifndef DSTACK_PROXY_COUNTS_H
#define DSTACK_PROXY_COUNTS_H

#include <pthread.h>

#include "table.h"

struct count {
  struct table_node node;
  uint32_t open;
  bool changed;
  struct count *next_changed;
};

struct counts {
  pthread_mutex_t lock;
  struct table table;
  uint32_t limit;
  bool told;  // whether changes are collected
  struct count *changed;
};

// False: no memory.
bool counts_init(struct counts *counts, uint32_t limit, bool told);
// One more of this key; NULL at the limit, or without memory. It stays valid until counts_leave.
struct count *counts_enter(struct counts *counts, const uint8_t key[KEY_BYTES]);
void counts_leave(struct counts *counts, struct count *count);
bool counts_have_changed(struct counts *counts);
// Takes one count off the list of the changed: the key and what is open now. False when there is none.
bool counts_next_change(struct counts *counts, uint8_t key[KEY_BYTES], uint32_t *open);
void counts_free(struct counts *counts);

#endif
