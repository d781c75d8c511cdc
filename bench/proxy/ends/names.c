#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ends.h"

char **names_read(const char *argument, size_t *count) {
  char **names = NULL;
  char *line = NULL;
  size_t room = 0;
  *count = 0;
  if (argument[0] != '@') {
    names = malloc(sizeof *names);
    if (names == NULL || (names[0] = strdup(argument)) == NULL) die("names");
    *count = 1;
    return names;
  }
  FILE *file = fopen(argument + 1, "r");
  if (file == NULL) die(argument + 1);
  while (getline(&line, &room, file) > 0) {
    line[strcspn(line, "\n")] = '\0';
    names = realloc(names, (*count + 1) * sizeof *names);
    if (names == NULL || (names[(*count)++] = strdup(line)) == NULL) die("names");
  }
  free(line);
  fclose(file);
  if (*count == 0) die("no names");
  return names;
}
