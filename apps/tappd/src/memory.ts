import { setFlagsFromString } from "node:v8";

// V8 lets the young generation grow to 32 MiB before it looks closely, for the sake of throughput; an agent that
// answers a request now and then has no use for that. The first module, because loading the others allocates too.
setFlagsFromString("--semi-space-growth-factor=1");
setFlagsFromString("--optimize-for-size");
