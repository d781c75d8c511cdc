import { makeCase } from "../../support/platform.js";
import { attackQuote } from "./attack-quote.js";

attackQuote({ name: "a simulated quote of version 5", make: () => makeCase({ quote: { version: 5 } }) });
