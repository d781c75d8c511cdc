import { render } from "preact";
import { App } from "./app.js";
import { follow } from "./live.js";

const page = document.getElementById("page");
if (page === null) throw new Error("the page has no place for the dashboard");
render(<App />, page);
void follow();
