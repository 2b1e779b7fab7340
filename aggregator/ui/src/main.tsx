/** The page's entry. */
import "uplot/dist/uPlot.min.css";
import "./style.css";
import { render } from "preact";
import { Gate } from "./access/gate";
import { App } from "./app";
import { applyTheme } from "./theme";

applyTheme();
const place = document.getElementById("app");
if (place === null) throw new Error("index.html has no #app");
render(<Gate>{() => <App />}</Gate>, place);
