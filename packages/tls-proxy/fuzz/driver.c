// Runs a fuzz target where there is no libFuzzer: mutates the files of a corpus. Not guided by coverage; the corpus
// brings inputs that go deep, and mutations stay near them.
//   driver <inputs> <seed> <corpus file>...
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_INPUT_BYTES 70000
#define MAX_FILES 256
#define MAX_CHANGES 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length);

struct file {
  uint8_t *bytes;
  size_t length;
};

static uint64_t state;

// xorshift64*: the same inputs for the same seed.
static size_t below(size_t bound) {
  state ^= state >> 12, state ^= state << 25, state ^= state >> 27;
  return (size_t)((state * UINT64_C(2685821657736338717)) >> 33) % bound;
}

static struct file read_file(const char *path) {
  struct file file = {.bytes = malloc(MAX_INPUT_BYTES)};
  FILE *stream = fopen(path, "rb");
  if (stream == NULL || file.bytes == NULL) {
    perror(path);
    exit(2);
  }
  file.length = fread(file.bytes, 1, MAX_INPUT_BYTES, stream);
  fclose(stream);
  return file;
}

// Lengths are what parsers trip over: most changes are to single bytes, and to values at the edges.
static void change(uint8_t *bytes, size_t *length) {
  static const uint8_t edges[] = {0, 1, 2, 3, 4, 16, 22, 0x40, 0x7f, 0x80, 0xfe, 0xff};
  if (*length == 0) return;
  size_t at = below(*length), rest = *length - at, size;
  switch (below(6)) {
    case 0:
      bytes[at] = (uint8_t)below(256);
      break;
    case 1:
      bytes[at] = edges[below(sizeof edges)];
      break;
    case 2:
      bytes[at] ^= (uint8_t)(1u << below(8));
      break;
    case 3:  // cut off
      *length = at;
      break;
    case 4:  // take out
      size = 1 + below(rest < 64 ? rest : 64);
      memmove(bytes + at, bytes + at + size, rest - size);
      *length -= size;
      break;
    default:  // double
      size = 1 + below(rest < 64 ? rest : 64);
      if (*length + size > MAX_INPUT_BYTES) break;
      memmove(bytes + at + size, bytes + at, rest);
      *length += size;
  }
}

int main(int count, char **arguments) {
  static struct file files[MAX_FILES];
  size_t file_count = 0;
  if (count < 4 || count - 3 > MAX_FILES) return 2;
  size_t inputs = strtoull(arguments[1], NULL, 10);
  state = strtoull(arguments[2], NULL, 10) | 1;
  for (int i = 3; i < count; i++) files[file_count++] = read_file(arguments[i]);
  for (size_t i = 0; i < file_count; i++) LLVMFuzzerTestOneInput(files[i].bytes, files[i].length);
  for (size_t i = 0; i < inputs; i++) {
    const struct file *file = &files[below(file_count)];
    size_t length = file->length;
    uint8_t *input = malloc(MAX_INPUT_BYTES);
    if (input == NULL) return 2;
    memcpy(input, file->bytes, length);
    for (size_t changes = below(MAX_CHANGES + 1); changes > 0; changes--) change(input, &length);
    uint8_t *exact = realloc(input, length == 0 ? 1 : length);  // a read past the end is seen
    if (exact == NULL) return 2;
    LLVMFuzzerTestOneInput(exact, length);
    free(exact);
  }
  for (size_t i = 0; i < file_count; i++) free(files[i].bytes);
  printf("%zu inputs\n", inputs);
  return 0;
}
