import { makeCase } from "../../support/platform.js";
import { attackQuote } from "./attack-quote.js";

attackQuote({ name: "a simulated quote of version 4", make: () => makeCase({ quote: { padding: 40 } }) });
