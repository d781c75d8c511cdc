// What the engine does to the process it runs in, which does nothing else.
#ifndef DSTACK_PROXY_PROCESS_H
#define DSTACK_PROXY_PROCESS_H

#include <stdbool.h>
#include <stddef.h>

// Ends by its control stream only, and may open as many descriptors as the system lets it. Gives back how many.
size_t process_prepare(void);
// Once listening: gives up root for good, and lets nobody look into its memory. False: it could not.
bool process_confine(void);

#endif
