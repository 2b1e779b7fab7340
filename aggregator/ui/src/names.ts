/** Names for completion, asked once a minute at most. Failures give no names: typing goes on. */
import { labelNames, labelValues, type Half } from "./api";
import { words, type Wanted } from "./complete";
import type { Language } from "./state";

const FRESH_MS = 60_000;
/** Each entry is one list of names; a session of typing asks for a few dozen. */
const ENTRIES_MAX = 100;

export class Names {
  readonly #known = new Map<string, { until_ms: number; names: Promise<string[]> }>();
  readonly #signal: AbortSignal;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
  }

  /** Names that fit where the caret stands. */
  async find(language: Language, wanted: Wanted): Promise<string[]> {
    const half: Half = language === "promql" ? "api" : "loki/api";
    const match = wanted.kind !== "name" && half === "api" ? wanted.metric : "";
    switch (wanted.kind) {
      case "name": {
        if (language === "logql") return words(language);
        const metrics = await this.#ask("metrics", () => labelValues(half, "__name__", this.#signal));
        return [...metrics, ...words(language)];
      }
      case "label":
        return this.#ask(`${half} names ${match}`, () => labelNames(half, this.#signal, match));
      case "value":
        return this.#ask(`${half} values ${wanted.label} ${match}`, () =>
          labelValues(half, wanted.label, this.#signal, match),
        );
    }
  }

  #ask(key: string, fetch: () => Promise<string[]>): Promise<string[]> {
    const now_ms = Date.now();
    const known = this.#known.get(key);
    if (known !== undefined && known.until_ms > now_ms) return known.names;
    if (this.#known.size >= ENTRIES_MAX) this.#known.clear();
    const names = fetch().catch(() => {
      this.#known.delete(key);
      return [];
    });
    this.#known.set(key, { until_ms: now_ms + FRESH_MS, names });
    return names;
  }
}
