#include "routes.h"

#include <stdlib.h>
#include <string.h>

bool routes_init(struct routes *routes) {
  *routes = (struct routes){.lock = PTHREAD_MUTEX_INITIALIZER};
  return table_init(&routes->by_id);
}

static void free_base_domains(struct routes *routes) {
  while (routes->base_domain_count > 0) free(routes->base_domains[--routes->base_domain_count]);
}

static void free_route(struct route *route) {
  for (size_t i = 0; i < route->place_count; i++) free(route->places[i].public_ports);
  free(route);
}

void routes_free(struct routes *routes) {
  struct table_node *node;
  while ((node = table_take_any(&routes->by_id)) != NULL) free_route((struct route *)node);
  table_free(&routes->by_id);
  free_base_domains(routes);
}

static bool read_base_domains(struct routes *routes, struct cursor *update) {
  size_t count = (size_t)cursor_uint(update, 2);
  if (update->failed || count > MAX_BASE_DOMAINS) return false;
  free_base_domains(routes);
  for (size_t i = 0; i < count; i++) {
    struct cursor text = cursor_vector(update, 2);
    if (text.failed || text.left == 0 || text.left > MAX_NAME_BYTES) return false;
    char *domain = strndup((const char *)text.at, text.left);
    if (domain == NULL) return false;
    routes->base_domains[routes->base_domain_count++] = domain;
  }
  return true;
}

static bool read_ports(struct routes *routes, struct cursor *update) {
  size_t count = (size_t)cursor_uint(update, 2);
  if (update->failed || count > MAX_PORT_RANGES) return false;
  for (size_t i = 0; i < count; i++) {
    routes->ports[i].from = (uint16_t)cursor_uint(update, 2);
    routes->ports[i].to = (uint16_t)cursor_uint(update, 2);
  }
  routes->port_count = count;
  return !update->failed;
}

static void remove_id(struct routes *routes, const uint8_t id[ID_BYTES]) {
  struct table_node *node = table_find(&routes->by_id, id);
  if (node == NULL) return;
  table_remove(&routes->by_id, node);
  free_route((struct route *)node);
}

static bool read_public_ports(struct cursor *update, struct place *place) {
  size_t count = (size_t)cursor_uint(update, 1);
  place->serves_all_ports = count == ALL_PORTS;
  if (update->failed || place->serves_all_ports || count == 0) return !update->failed;
  if (count > MAX_PUBLIC_PORTS) return false;
  place->public_ports = calloc(count, sizeof *place->public_ports);
  if (place->public_ports == NULL) return false;
  place->public_port_count = count;
  for (size_t i = 0; i < count; i++) place->public_ports[i] = (uint16_t)cursor_uint(update, 2);
  return !update->failed;
}

static bool read_place(struct cursor *update, struct place *place) {
  struct backend *backend = &place->backend;
  const uint8_t *app = cursor_take(update, ID_BYTES), *instance = cursor_take(update, ID_BYTES);
  uint64_t family = cursor_uint(update, 1);
  const uint8_t *address = cursor_take(update, sizeof backend->address);
  if (app == NULL || instance == NULL || address == NULL || (family != 4 && family != 6)) return false;
  memcpy(backend->app, app, ID_BYTES);
  memcpy(backend->instance, instance, ID_BYTES);
  memcpy(backend->address, address, sizeof backend->address);
  backend->is_ipv6 = family == 6;
  place->header_port_count = (size_t)cursor_uint(update, 1);
  if (place->header_port_count > MAX_HEADER_PORTS) return false;
  for (size_t i = 0; i < place->header_port_count; i++) place->header_ports[i] = (uint16_t)cursor_uint(update, 2);
  return read_public_ports(update, place);
}

static bool read_route(struct routes *routes, struct cursor *update) {
  const uint8_t *id = cursor_take(update, ID_BYTES);
  size_t count = (size_t)cursor_uint(update, 1);
  if (id == NULL || update->failed || count == 0 || count > MAX_PLACES) return false;
  struct route *route = calloc(1, sizeof *route + count * sizeof *route->places);
  if (route == NULL) return false;
  memcpy(route->node.key, id, ID_BYTES);
  route->place_count = count;
  for (size_t i = 0; i < count; i++) {
    if (read_place(update, &route->places[i])) continue;
    free_route(route);
    return false;
  }
  remove_id(routes, id);
  table_add(&routes->by_id, &route->node);
  return true;
}

static bool update_all(struct routes *routes, struct cursor update) {
  if (!read_base_domains(routes, &update) || !read_ports(routes, &update)) return false;
  uint64_t gone = cursor_uint(&update, 4);
  for (uint64_t i = 0; i < gone; i++) {
    const uint8_t *id = cursor_take(&update, ID_BYTES);
    if (id == NULL) return false;
    remove_id(routes, id);
  }
  uint64_t changed = cursor_uint(&update, 4);
  for (uint64_t i = 0; i < changed; i++) {
    if (!read_route(routes, &update)) return false;
  }
  return !update.failed && update.left == 0;
}

bool routes_update(struct routes *routes, struct cursor update) {
  pthread_mutex_lock(&routes->lock);
  bool good = update_all(routes, update);
  pthread_mutex_unlock(&routes->lock);
  return good;
}

struct destination routes_destination(struct routes *routes, const char *name, bool passthrough_only) {
  pthread_mutex_lock(&routes->lock);
  struct destination found =
      destination_parse(name, routes->base_domains, routes->base_domain_count, passthrough_only);
  pthread_mutex_unlock(&routes->lock);
  return found;
}

static bool is_allowed(const struct routes *routes, uint16_t port) {
  for (size_t i = 0; i < routes->port_count; i++) {
    if (routes->ports[i].from <= port && port <= routes->ports[i].to) return true;
  }
  return false;
}

static bool serves(const struct place *place, uint16_t port) {
  for (size_t i = 0; i < place->public_port_count; i++) {
    if (place->public_ports[i] == port) return true;
  }
  return place->serves_all_ports;
}

static struct backend backend_on(const struct place *place, uint16_t port) {
  struct backend backend = place->backend;
  for (size_t i = 0; i < place->header_port_count; i++) {
    if (place->header_ports[i] == port) backend.wants_header = true;
  }
  return backend;
}

static enum routes_found find(const struct routes *routes, const uint8_t id[ID_BYTES], uint16_t port,
                              struct backend backends[MAX_CONTESTANTS], size_t *count) {
  const struct route *route = (const struct route *)table_find(&routes->by_id, id);
  if (route == NULL) return ROUTES_UNKNOWN;
  if (!is_allowed(routes, port)) return ROUTES_PORT_NOT_ALLOWED;
  *count = 0;
  for (size_t i = 0; i < route->place_count && *count < MAX_CONTESTANTS; i++) {
    if (serves(&route->places[i], port)) backends[(*count)++] = backend_on(&route->places[i], port);
  }
  return *count == 0 ? ROUTES_PORT_NOT_ALLOWED : ROUTES_FOUND;
}

enum routes_found routes_find(struct routes *routes, const uint8_t id[ID_BYTES], uint16_t port,
                              struct backend backends[MAX_CONTESTANTS], size_t *count) {
  pthread_mutex_lock(&routes->lock);
  enum routes_found found = find(routes, id, port, backends, count);
  pthread_mutex_unlock(&routes->lock);
  return found;
}
