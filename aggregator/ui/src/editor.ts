/**
 * The query box: a text area with completion. Enter runs (with or without Shift), Alt+Enter makes
 * a new line; the list of candidates is used with arrows, Tab or the pointer. It knows no API.
 */
import { candidates, contextAt, type Context, type Wanted } from "./complete";
import { fill, h } from "./dom";
import type { Language } from "./state";

export interface EditorOptions {
  language: Language;
  query: string;
  run: (query: string) => void;
  names: (wanted: Wanted) => Promise<string[]>;
}

/** Longer queries come from programs; the box still shows them, but does not grow on. */
const ROWS_MAX = 8;

export class Editor {
  readonly root: HTMLElement;
  readonly #area: HTMLTextAreaElement;
  readonly #list: HTMLElement;
  readonly #options: EditorOptions;
  #context: Context | null = null;
  #found: string[] = [];
  #chosen = -1;

  constructor(options: EditorOptions) {
    this.#options = options;
    const promql = options.language === "promql";
    this.#area = h("textarea", {
      attributes: {
        rows: "1",
        spellcheck: "false",
        autocapitalize: "off",
        autocomplete: "off",
        "aria-label": promql ? "PromQL query" : "LogQL query",
        "aria-autocomplete": "list",
        "aria-controls": "candidates",
        "aria-expanded": "false",
        role: "combobox",
        placeholder: promql ? "rate(node_cpu_seconds_total[5m])" : '{namespace="default"} |= "error"',
      },
      on: {
        input: () => void this.#complete(),
        keydown: (event) => this.#onKey(event),
        blur: () => this.#close(),
      },
    });
    this.#area.value = options.query;
    this.#list = h("ul", {
      class: "candidates",
      attributes: { id: "candidates", role: "listbox", "aria-label": "completions" },
    });
    this.#list.hidden = true;
    this.root = h("div", { class: "editor" }, this.#area, this.#list);
    this.#grow();
  }

  get query(): string {
    return this.#area.value.trim();
  }

  set query(text: string) {
    this.#area.value = text;
    this.#grow();
  }

  focus(): void {
    this.#area.focus();
  }

  #grow(): void {
    const lines = this.#area.value.split("\n").length;
    this.#area.rows = Math.min(ROWS_MAX, lines);
    // A long line wraps; the box follows while it is laid out.
    requestAnimationFrame(() => {
      if (!this.#area.isConnected) return;
      this.#area.style.height = "auto";
      const room = Math.min(this.#area.scrollHeight, ROWS_MAX * 20 + 16);
      this.#area.style.height = `${room + 2}px`;
    });
  }

  async #complete(): Promise<void> {
    this.#grow();
    const { value, selectionStart } = this.#area;
    const context = contextAt(value, selectionStart);
    if (context === null) return this.#close();
    const names = await this.#options.names(context.wanted);
    // The reader typed on while the names came.
    if (this.#area.value !== value || this.#area.selectionStart !== selectionStart) return;
    this.#context = context;
    this.#found = candidates(names, context.prefix);
    this.#chosen = -1;
    this.#show();
  }

  #show(): void {
    this.#list.hidden = this.#found.length === 0;
    this.#area.setAttribute("aria-expanded", String(this.#found.length > 0));
    const items = this.#found.map((name, at) =>
      h(
        "li",
        {
          attributes: { role: "option", id: `candidate-${at}`, "aria-selected": String(at === this.#chosen) },
          on: {
            // Before the text area loses the focus, which would close the list.
            mousedown: (event) => {
              event.preventDefault();
              this.#take(at);
            },
          },
        },
        name,
      ),
    );
    fill(this.#list, ...items);
    if (this.#chosen >= 0) this.#area.setAttribute("aria-activedescendant", `candidate-${this.#chosen}`);
    else this.#area.removeAttribute("aria-activedescendant");
  }

  #close(): void {
    this.#found = [];
    this.#show();
  }

  #take(at: number): void {
    const name = this.#found[at];
    if (name === undefined || this.#context === null) return;
    const { start } = this.#context;
    this.#area.setRangeText(name, start, this.#area.selectionStart, "end");
    this.#close();
    this.#grow();
  }

  #onKey(event: KeyboardEvent): void {
    const open = this.#found.length > 0;
    const move = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (open && move !== undefined) {
      const count = this.#found.length;
      this.#chosen = (Math.max(this.#chosen, move > 0 ? -1 : 0) + move + count) % count;
      this.#show();
    } else if (open && event.key === "Escape") this.#close();
    else if (open && event.key === "Tab" && !event.shiftKey) this.#take(Math.max(0, this.#chosen));
    else if (open && event.key === "Enter" && this.#chosen >= 0) this.#take(this.#chosen);
    else if (event.key === "Enter" && event.altKey) {
      this.#area.setRangeText("\n", this.#area.selectionStart, this.#area.selectionEnd, "end");
      this.#grow();
    } else if (event.key === "Enter") {
      this.#close();
      this.#options.run(this.query);
    } else return;
    event.preventDefault();
  }
}
