/** Names of log labels for completion, asked once a minute at most. Failures give no names: typing goes on. */
import { labelNames, labelValues } from "../api";
import { WORDS, type Wanted } from "./complete";

const FRESH_MS = 60_000;
/** Each entry is one list of names; a session of typing asks for a few dozen. */
const ENTRIES_MAX = 100;
/** More candidates are no help to a reader, and drawing them takes time. */
const NAMES_MAX = 1000;

export class Names {
  readonly #known = new Map<string, { until_ms: number; names: Promise<string[]> }>();
  readonly #signal: AbortSignal;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
  }

  /** Names that fit where the caret stands. */
  async find(wanted: Wanted): Promise<readonly string[]> {
    switch (wanted.kind) {
      case "name":
        return WORDS;
      case "label":
        return this.#ask("names", () => labelNames("loki/api", this.#signal));
      case "value":
        return this.#ask(`values ${wanted.label}`, () => labelValues("loki/api", wanted.label, this.#signal));
    }
  }

  #ask(key: string, fetch: () => Promise<string[]>): Promise<string[]> {
    const now_ms = Date.now();
    const known = this.#known.get(key);
    if (known !== undefined && known.until_ms > now_ms) return known.names;
    if (this.#known.size >= ENTRIES_MAX) this.#known.clear();
    const names = fetch().then(
      (found) => found.slice(0, NAMES_MAX),
      () => {
        this.#known.delete(key);
        return [];
      },
    );
    this.#known.set(key, { until_ms: now_ms + FRESH_MS, names });
    return names;
  }
}
