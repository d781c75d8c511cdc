// The engine as a program of its own, for checks that have to be built into the whole process.
#include "engine.h"

int main(void) { return engine_run(3); }
