/** The page's entry. */
import "uplot/dist/uPlot.min.css";
import "./style.css";
import { render } from "preact";
import { App } from "./app";
import { applyTheme } from "./theme";

applyTheme();
const place = document.getElementById("app");
if (place === null) throw new Error("index.html has no #app");
render(<App />, place);
