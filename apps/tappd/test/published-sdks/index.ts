// The SDKs as published, for compatibility tests. They live in a package of their own because 0.5.8 loads @noble
// version 1, while tappd itself uses version 2.
export { TappdClient as TappdClient01 } from "dstack-sdk-0.1";
export { DstackClient, TappdClient as TappdClient05 } from "dstack-sdk-0.5";
