/**
 * What the address bar says: the page and everything chosen on it, in the URL's fragment. Pure.
 * The one rule: any state that can be reached by clicking can be written here and read back, and
 * any text that somebody typed into the address bar reads as some valid state.
 */
import { formatDuration, parseDuration, type Window } from "./time";

export type Language = "promql" | "logql";
export type View = "graph" | "table";

export interface OverviewState extends Window {
  page: "overview";
  /** The chosen node; empty means the first one. */
  node: string;
  live: boolean;
}

export interface ExploreState extends Window {
  page: "explore";
  language: Language;
  query: string;
  view: View;
  /** Log lines to fetch. */
  limit: number;
  live: boolean;
}

export type State = OverviewState | ExploreState;

export const RANGES = ["15m", "1h", "6h", "24h"] as const;
export const LIMITS = [100, 500, 1000, 5000] as const;

const DEFAULT_RANGE_S = 900;
/** A year: beyond it a step is longer than a week and no chart is readable. */
const RANGE_MAX_S = 366 * 86400;

export const OVERVIEW: OverviewState = {
  page: "overview",
  node: "",
  range_s: DEFAULT_RANGE_S,
  end_s: null,
  live: true,
};

export const EXPLORE: ExploreState = {
  page: "explore",
  language: "promql",
  query: "",
  view: "graph",
  limit: 100,
  range_s: 3600,
  end_s: null,
  live: false,
};

function readWindow(params: URLSearchParams, fallback_s: number): Window {
  const range_s = parseDuration(params.get("range") ?? "") ?? fallback_s;
  const end = Number(params.get("end") ?? "");
  return {
    range_s: Math.min(range_s, RANGE_MAX_S),
    end_s: Number.isFinite(end) && end > 0 ? Math.floor(end) : null,
  };
}

/** Reads the fragment of a URL. */
export function parseHash(hash: string): State {
  const [path = "", query = ""] = hash.replace(/^#/, "").split(/\?(.*)/s);
  const params = new URLSearchParams(query);
  if (path !== "/explore") {
    const window = readWindow(params, OVERVIEW.range_s);
    const live = window.end_s === null && params.get("live") !== "0";
    return { page: "overview", node: params.get("node") ?? "", ...window, live };
  }
  const window = readWindow(params, EXPLORE.range_s);
  const limit = Number(params.get("limit"));
  return {
    page: "explore",
    language: params.get("lang") === "logql" ? "logql" : "promql",
    query: params.get("q") ?? "",
    view: params.get("view") === "table" ? "table" : "graph",
    limit: LIMITS.find((known) => known === limit) ?? EXPLORE.limit,
    ...window,
    live: window.end_s === null && params.get("live") === "1",
  };
}

/** Writes a state as the fragment of a URL; what is at its default is left out. */
export function formatHash(state: State): string {
  const params = new URLSearchParams();
  const base = state.page === "overview" ? OVERVIEW : EXPLORE;
  if (state.page === "explore") {
    params.set("lang", state.language);
    if (state.query !== "") params.set("q", state.query);
    if (state.view !== EXPLORE.view) params.set("view", state.view);
    if (state.limit !== EXPLORE.limit) params.set("limit", String(state.limit));
  } else if (state.node !== "") {
    params.set("node", state.node);
  }
  if (state.range_s !== base.range_s) params.set("range", formatDuration(state.range_s));
  if (state.end_s !== null) params.set("end", String(state.end_s));
  else if (state.live !== base.live) params.set("live", state.live ? "1" : "0");
  const text = params.toString();
  return `#/${state.page === "explore" ? "explore" : ""}${text === "" ? "" : `?${text}`}`;
}

/** A link into the explore page. */
export function exploreLink(language: Language, query: string, window: Window): string {
  const { range_s, end_s } = window;
  return formatHash({ ...EXPLORE, language, query, range_s, end_s });
}
