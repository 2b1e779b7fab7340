/**
 * What surrounds every page: the bar with navigation, node and time range, and the footer with
 * version and query statistics. It changes state by changing the address and nothing else.
 */
import { version, type Meter } from "./api";
import { dropDown, fill, h, segmented } from "./dom";
import { formatBytes } from "./format";
import { EXPLORE, formatHash, OVERVIEW, RANGES, type OverviewState, type State } from "./state";
import { formatDuration, formatMoment, parseDuration } from "./time";

export class Shell {
  readonly #controls = h("div", { class: "controls" });
  readonly #nodes = h("div", { class: "nodes" });
  readonly #navigation = h("nav", { attributes: { "aria-label": "pages" } });
  readonly #statistics = h("span", { class: "statistics", attributes: { "aria-live": "off" } });
  readonly #version = h("span", { class: "version" }, "kansoku");

  constructor(bar: HTMLElement, foot: HTMLElement) {
    fill(
      bar,
      h("a", { class: "brand", attributes: { href: "#/" } }, "kansoku"),
      this.#navigation,
      this.#nodes,
      this.#controls,
    );
    const licenses = h("a", { attributes: { href: "licenses.md" } }, "licences");
    fill(foot, h("span", {}, this.#version, " · ", licenses), this.#statistics);
    void version(new AbortController().signal).then(
      (text) => (this.#version.textContent = `kansoku-aggregator ${text}`),
      () => (this.#version.textContent = "kansoku-aggregator"),
    );
  }

  /** Goes to a state, as if its link had been clicked. */
  go(state: State): void {
    location.hash = formatHash(state);
  }

  /** Draws the bar for a state. */
  show(state: State): void {
    const { range_s, end_s } = state;
    const pages: [string, State][] = [
      ["Overview", { ...OVERVIEW, range_s, end_s, live: end_s === null }],
      ["Explore", { ...EXPLORE, range_s, end_s }],
    ];
    fill(
      this.#navigation,
      ...pages.map(([name, target]) => {
        const current = target.page === state.page ? "page" : null;
        return h("a", { attributes: { href: formatHash(target), "aria-current": current } }, name);
      }),
    );
    if (state.page === "explore") fill(this.#nodes);
    const chosen = formatDuration(range_s);
    const ranges = [...RANGES] as string[];
    const known = RANGES.find((range) => parseDuration(range) === range_s);
    const range = segmented("time range", ranges, ranges, end_s === null ? (known ?? "") : "", (text) => {
      const live = state.page === "overview" || state.live;
      this.go({ ...state, range_s: parseDuration(text) ?? range_s, end_s: null, live });
    });
    const span = `${formatMoment((end_s ?? 0) - range_s)} – ${formatMoment(end_s ?? 0)}`;
    const fixed =
      end_s !== null
        ? h(
            "button",
            {
              class: "window",
              attributes: { type: "button", title: "back to now" },
              on: { click: () => this.go({ ...state, end_s: null, live: state.page === "overview" }) },
            },
            `${span} ×`,
          )
        : known === undefined
          ? h("span", { class: "window" }, `last ${chosen}`)
          : null;
    const live = h(
      "button",
      {
        class: "live",
        attributes: {
          type: "button",
          "aria-pressed": String(state.live),
          title: "refresh every few seconds",
        },
        on: { click: () => this.go({ ...state, end_s: null, live: !state.live }) },
      },
      "Live",
    );
    fill(this.#controls, fixed, range, live);
  }

  /** Offers the nodes that send metrics, when there is more than one. */
  showNodes(names: readonly string[], state: OverviewState): void {
    const chosen = names.includes(state.node) ? state.node : (names[0] ?? "");
    if (names.length < 2)
      return fill(this.#nodes, chosen === "" ? null : h("span", { class: "node" }, chosen));
    const before = this.#nodes.querySelector("select");
    const same = before !== null && [...before.options].map((option) => option.value).join() === names.join();
    if (same) before.value = chosen;
    else
      fill(
        this.#nodes,
        dropDown("node", names, chosen, (node) => this.go({ ...parseNode(node, state) })),
      );
  }

  /** What the last run took. */
  showMeter({ queries, series, bytes, duration_ms }: Meter): void {
    const parts = [
      `${queries} ${queries === 1 ? "query" : "queries"}`,
      `${Math.round(duration_ms)} ms`,
      `${series} series`,
      formatBytes(bytes),
    ];
    this.#statistics.textContent = parts.join(" · ");
  }
}

function parseNode(node: string, state: OverviewState): OverviewState {
  return { ...state, node };
}
