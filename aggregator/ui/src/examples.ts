/** Queries to start from, shown while the query box is empty. */
import { h } from "./dom";
import { formatHash, type ExploreState, type Language } from "./state";

const EXAMPLES: Readonly<Record<Language, readonly [string, string][]>> = {
  promql: [
    ["CPU by mode", "avg by (mode) (rate(node_cpu_seconds_total[2m]))"],
    ["Memory in use", "1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes"],
    ["Network in, by device", "rate(node_network_receive_bytes_total[2m])"],
    ["Busiest containers", "topk(5, sum by (namespace, pod) (rate(container_cpu_usage_seconds_total[2m])))"],
    ["Load", "node_load1"],
  ],
  logql: [
    ["Lines of all pods", '{namespace=~".+"}'],
    ["Lines of all files", '{filename=~".+"}'],
    ["Errors", '{namespace=~".+"} |~ "(?i)error|fail"'],
    ["Lines per second, by container", 'sum by (container) (rate({namespace=~".+"}[1m]))'],
    ["Bytes per minute, by file", 'sum by (filename) (bytes_over_time({filename=~".+"}[1m]))'],
  ],
};

/** A list of links that run a query. */
export function examples(state: ExploreState): HTMLElement {
  const items = EXAMPLES[state.language].map(([title, query]) =>
    h(
      "li",
      {},
      h(
        "a",
        { attributes: { href: formatHash({ ...state, query }) } },
        h("span", {}, title),
        h("code", {}, query),
      ),
    ),
  );
  return h(
    "section",
    { class: "examples", attributes: { "aria-label": "examples" } },
    h("h2", {}, "Try"),
    h("ul", {}, ...items),
    h(
      "p",
      { class: "note" },
      "Enter runs the query, Alt+Enter starts a new line, Tab completes. Drag over a chart to zoom.",
    ),
  );
}
