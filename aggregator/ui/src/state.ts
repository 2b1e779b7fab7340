/**
 * What the address bar says: the page, its time window and everything chosen on it, in the URL's
 * fragment. Pure. The one rule: any state that can be reached by clicking can be written here and
 * read back, and any text that somebody typed into the address bar reads as some valid state.
 */
import { formatDuration, parseDuration, type Window } from "./time";

/** What each page keeps in the address besides its window, all of it text; absent is empty. */
const PARAMETERS = {
  cluster: ["tab", "sort", "filter", "ns", "node", "workload"],
  node: ["node"],
  pod: ["ns", "pod", "container", "filter", "from", "to"],
  logs: ["q", "limit", "view", "wrap", "since", "tail", "at"],
  metrics: ["q", "q2", "q3", "q4", "q5", "view", "compare", "find"],
  dashboards: ["board", "vars", "edit", "panel", "version"],
  alerts: ["filter", "state"],
  slos: ["slo", "edit"],
  kansoku: [],
} as const;

export type PageName = keyof typeof PARAMETERS;
export type Parameter<P extends PageName> = (typeof PARAMETERS)[P][number];
type AnyParameter = { [P in PageName]: Parameter<P> }[PageName];

export interface State extends Window {
  page: PageName;
  /** The page refreshes itself. */
  live: boolean;
  params: Readonly<Partial<Record<AnyParameter, string>>>;
}

export const RANGES = ["15m", "1h", "6h", "24h"] as const;

/** The window of each page when the address names none. */
const DEFAULTS: Readonly<Record<PageName, { range_s: number; live: boolean }>> = {
  cluster: { range_s: 900, live: true },
  node: { range_s: 900, live: true },
  pod: { range_s: 3600, live: true },
  logs: { range_s: 3600, live: false },
  metrics: { range_s: 3600, live: false },
  dashboards: { range_s: 3600, live: true },
  alerts: { range_s: 3600, live: true },
  slos: { range_s: 86_400, live: true },
  kansoku: { range_s: 3600, live: true },
};

/** A year: beyond it a step is longer than a week and no chart is readable. */
const RANGE_MAX_S = 366 * 86400;

/** A page at its defaults, with these parameters. */
export function pageState<P extends PageName>(
  page: P,
  params: Partial<Record<Parameter<P>, string>> = {},
): State {
  return { page, end_s: null, ...DEFAULTS[page], params: params as State["params"] };
}

function isPage(name: string): name is PageName {
  return Object.hasOwn(PARAMETERS, name);
}

/** Reads the fragment of a URL. */
export function parseHash(hash: string): State {
  const [path = "", query = ""] = hash.replace(/^#/, "").split(/\?(.*)/s);
  const search = new URLSearchParams(query);
  const name = path.replace(/^\//, "");
  // The name of one page for both languages in links of earlier versions.
  const known = name === "explore" ? (search.get("lang") === "logql" ? "logs" : "metrics") : name;
  const page = isPage(known) ? known : "cluster";
  const defaults = DEFAULTS[page];
  const end = Number(search.get("end") ?? "");
  const end_s = Number.isFinite(end) && end > 0 ? Math.floor(end) : null;
  const range_s = Math.min(parseDuration(search.get("range") ?? "") ?? defaults.range_s, RANGE_MAX_S);
  const asked = search.get("live");
  const live = end_s === null && (asked === null ? defaults.live : asked === "1");
  const params: Record<string, string> = {};
  for (const parameter of PARAMETERS[page]) {
    const text = search.get(parameter);
    if (text) params[parameter] = text;
  }
  return { page, range_s, end_s, live, params };
}

/** Writes a state as the fragment of a URL; what is at its default is left out. */
export function formatHash(state: State): string {
  const defaults = DEFAULTS[state.page];
  const search = new URLSearchParams();
  for (const parameter of PARAMETERS[state.page]) {
    const text = state.params[parameter];
    if (text) search.set(parameter, text);
  }
  if (state.range_s !== defaults.range_s) search.set("range", formatDuration(state.range_s));
  if (state.end_s !== null) search.set("end", String(state.end_s));
  else if (state.live !== defaults.live) search.set("live", state.live ? "1" : "0");
  const text = search.toString();
  const path = state.page === "cluster" ? "" : state.page;
  return `#/${path}${text === "" ? "" : `?${text}`}`;
}

/** A link to a page with these parameters, over the window that is shown now. */
export function link<P extends PageName>(
  page: P,
  params: Partial<Record<Parameter<P>, string>>,
  window?: Window,
): string {
  const state = pageState(page, params);
  if (window === undefined) return formatHash(state);
  const { range_s, end_s } = window;
  return formatHash({ ...state, range_s, end_s, live: end_s === null && state.live });
}

export type Language = "promql" | "logql";

/** A link that runs a query. */
export function queryLink(language: Language, query: string, window: Window): string {
  return language === "promql" ? link("metrics", { q: query }, window) : link("logs", { q: query }, window);
}

/** Goes to a state, as if its link had been clicked. */
export function go(state: State): void {
  location.hash = formatHash(state);
}

/** The same page with other parameters; a parameter set to "" is dropped. */
export function withParams(state: State, params: State["params"]): State {
  return { ...state, params: { ...state.params, ...params } };
}

/** The window between two moments, fixed. */
export function zoomed(state: State, start_s: number, end_s: number): State {
  return { ...state, range_s: Math.max(10, end_s - start_s), end_s, live: false };
}
