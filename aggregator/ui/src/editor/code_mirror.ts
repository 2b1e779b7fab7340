/**
 * The query editors: CodeMirror with the grammar of PromQL or LogQL, completion against the live
 * labels and marks under mistakes. This module is loaded when an editor is first shown. It lives in
 * a shadow tree, whose style sheets are objects: the page's policy allows no inline styles.
 */
import {
  autocompletion,
  closeBrackets,
  closeBracketsKeymap,
  completionKeymap,
  completionStatus,
  type CompletionSource,
} from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap, insertNewline } from "@codemirror/commands";
import {
  bracketMatching,
  HighlightStyle,
  LanguageSupport,
  LRLanguage,
  syntaxHighlighting,
  syntaxTree,
} from "@codemirror/language";
import { linter, lintKeymap, type Diagnostic } from "@codemirror/lint";
import { Compartment, EditorState, Prec, type Extension } from "@codemirror/state";
import { drawSelection, EditorView, keymap, placeholder, tooltips } from "@codemirror/view";
import { parser as logqlParser } from "@grafana/lezer-logql";
import { styleTags, tags } from "@lezer/highlight";
import { PromQLExtension } from "@prometheus-io/codemirror-promql";
import { headers } from "../access/session";
import { t } from "../i18n";
import { isDark, onTheme } from "../theme";
import type { Language } from "../state";
import { contextAt } from "./complete";
import { Names } from "./names";

export interface EditorOptions {
  language: Language;
  query: string;
  label: string;
  placeholder: string;
  run: (query: string) => void;
  change: (query: string) => void;
  /** The query holds variables, which its grammar does not know: mistakes are not marked. */
  templated?: boolean;
}

const COLORS = {
  light: {
    keyword: "#7a3e9d",
    string: "#0b6e3f",
    number: "#9a4a00",
    name: "#1f2a44",
    label: "#0b5c86",
    comment: "#6b7684",
  },
  dark: {
    keyword: "#d8a6ff",
    string: "#8fe0ae",
    number: "#ffb86b",
    name: "#e4e9ee",
    label: "#8ecbff",
    comment: "#8b97a4",
  },
};

function highlight(dark: boolean): Extension {
  const colors = dark ? COLORS.dark : COLORS.light;
  return syntaxHighlighting(
    HighlightStyle.define([
      {
        tag: [tags.keyword, tags.function(tags.variableName), tags.operatorKeyword, tags.modifier],
        color: colors.keyword,
      },
      { tag: tags.string, color: colors.string },
      { tag: [tags.number, tags.bool], color: colors.number },
      { tag: tags.variableName, color: colors.name },
      { tag: tags.labelName, color: colors.label },
      { tag: tags.comment, color: colors.comment },
    ]),
  );
}

/** Variables of the page's style sheet reach into the shadow tree. */
function look(dark: boolean): Extension {
  return EditorView.theme(
    {
      "&": {
        backgroundColor: "var(--card)",
        color: "var(--text)",
        border: "1px solid var(--line)",
        borderRadius: "6px",
      },
      "&.cm-focused": { outline: "2px solid var(--accent)", outlineOffset: "1px" },
      ".cm-scroller": { fontFamily: "var(--mono)", fontSize: "13px", lineHeight: "20px", maxHeight: "200px" },
      ".cm-content": { padding: "7px 4px", caretColor: "var(--text)", minHeight: "20px" },
      ".cm-cursor": { borderLeftColor: "var(--text)" },
      ".cm-placeholder": { color: "var(--faint)" },
      ".cm-selectionBackground, &.cm-focused .cm-selectionBackground": {
        backgroundColor: "var(--accent-soft) !important",
      },
      ".cm-matchingBracket": { backgroundColor: "var(--accent-soft)" },
      ".cm-tooltip": {
        backgroundColor: "var(--raised)",
        color: "var(--text)",
        border: "1px solid var(--line)",
        borderRadius: "6px",
        maxWidth: "min(640px, 90vw)",
      },
      ".cm-tooltip-autocomplete > ul": { fontFamily: "var(--mono)", fontSize: "12px", maxHeight: "260px" },
      ".cm-tooltip-autocomplete > ul > li[aria-selected]": {
        backgroundColor: "var(--accent-soft)",
        color: "var(--text)",
      },
      ".cm-completionDetail": { color: "var(--faint)", fontStyle: "normal" },
      ".cm-completionInfo": {
        padding: "6px 8px",
        whiteSpace: "pre-wrap",
        font: "12px system-ui, sans-serif",
      },
      // Instead of a picture within the style sheet, which the page's policy does not load.
      ".cm-lintRange-error, .cm-lintRange-warning": {
        backgroundImage: "none",
        textDecoration: "underline wavy var(--bad)",
      },
      ".cm-diagnostic": { font: "12px system-ui, sans-serif" },
    },
    { dark },
  );
}

const logql = LRLanguage.define({
  parser: logqlParser.configure({
    props: [
      styleTags({
        Identifier: tags.labelName,
        LabelName: tags.labelName,
        String: tags.string,
        "Number Duration Bytes": tags.number,
        LineComment: tags.comment,
        "Json Logfmt Regexp Pattern Unpack Unwrap LineFormat LabelFormat Decolorize Drop Keep By Without On Ignoring Bool Offset Or And Unless GroupLeft GroupRight":
          tags.keyword,
        "Rate RateCounter CountOverTime BytesOverTime BytesRate AvgOverTime SumOverTime MinOverTime MaxOverTime StddevOverTime StdvarOverTime QuantileOverTime FirstOverTime LastOverTime AbsentOverTime Sum Avg Count Max Min Stddev Stdvar Bottomk Topk Sort Sort_Desc LabelReplace Vector":
          tags.function(tags.variableName),
      }),
    ],
  }),
  languageData: { closeBrackets: { brackets: ["(", "[", "{", '"', "`"] }, commentTokens: { line: "#" } },
});

/** Where the grammar cannot go on. The aggregator's own words come with the answer. */
const logqlLinter = linter((view) => {
  const found: Diagnostic[] = [];
  const length = view.state.doc.length;
  if (length === 0) return found;
  syntaxTree(view.state).iterate({
    enter: (node) => {
      if (!node.type.isError || found.length > 0) return;
      const to = Math.min(length, Math.max(node.to, node.from + 1));
      found.push({ from: Math.min(node.from, to), to, severity: "error", message: t("editor.mistake") });
    },
  });
  return found;
});

function logqlCompletion(names: Names): CompletionSource {
  return async (context) => {
    const text = context.state.doc.toString();
    const wanted = contextAt(text, context.pos);
    if (wanted === null) return null;
    const found = await names.find(wanted.wanted);
    const type = { name: "keyword", label: "property", value: "text" }[wanted.wanted.kind];
    return { from: wanted.start, options: found.map((label) => ({ label, type })) };
  };
}

function languageOf(language: Language, names: Names, marks: boolean): Extension {
  if (language === "promql") {
    const url = new URL(".", document.baseURI).href.replace(/\/$/, "");
    return new PromQLExtension()
      .activateLinter(marks)
      .setComplete({ remote: { url, httpMethod: "GET", fetchFn: bounded } })
      .asExtension();
  }
  return [
    new LanguageSupport(logql, [logql.data.of({ autocomplete: logqlCompletion(names) })]),
    ...(marks ? [logqlLinter] : []),
  ];
}

/** More candidates are no help to a reader, and sorting and drawing them takes time. */
const CANDIDATES_MAX = 1000;
/** Names of metrics are looked for in the browser, so it needs about all of them. */
const METRICS_MAX = 20_000;

/** Completion asks for so many names or values at most. */
function bounded(input: RequestInfo | URL, init?: RequestInit): Promise<Response> {
  const url = new URL(input instanceof Request ? input.url : input, document.baseURI);
  const most = url.pathname.endsWith("/__name__/values") ? METRICS_MAX : CANDIDATES_MAX;
  if (!url.pathname.endsWith("/metadata")) url.searchParams.set("limit", String(most));
  const all = new Headers(init?.headers);
  for (const [name, value] of Object.entries(headers())) all.set(name, value);
  return fetch(url, { ...init, headers: all });
}

/** One editor. */
export class QueryEditor {
  readonly root = document.createElement("div");
  readonly #view: EditorView;
  readonly #closing = new AbortController();
  readonly #stopTheme: () => void;

  constructor(options: EditorOptions) {
    const shadow = this.root.attachShadow({ mode: "open" });
    const theme = new Compartment();
    const themes = (): Extension => [look(isDark()), highlight(isDark())];
    const run = (view: EditorView): boolean => {
      if (completionStatus(view.state) === "active") return false;
      options.run(view.state.doc.toString());
      return true;
    };
    this.#view = new EditorView({
      root: shadow,
      parent: shadow,
      state: EditorState.create({
        doc: options.query,
        extensions: [
          history(),
          drawSelection(),
          bracketMatching(),
          closeBrackets(),
          autocompletion({ icons: false, activateOnTypingDelay: 50 }),
          tooltips({ position: "absolute" }),
          EditorView.lineWrapping,
          placeholder(options.placeholder),
          EditorView.contentAttributes.of({ "aria-label": options.label, autocapitalize: "off" }),
          EditorView.updateListener.of((update) => {
            if (update.docChanged) options.change(update.state.doc.toString());
          }),
          languageOf(options.language, new Names(this.#closing.signal), options.templated !== true),
          Prec.high(
            keymap.of([
              { key: "Enter", run },
              { key: "Shift-Enter", run: insertNewline },
            ]),
          ),
          keymap.of([
            ...closeBracketsKeymap,
            ...completionKeymap,
            ...historyKeymap,
            ...lintKeymap,
            // Tab leaves the editor, so that a keyboard's user is not caught; Escape leaves it, too.
            ...defaultKeymap,
            { key: "Escape", run: (view) => (view.contentDOM.blur(), true) },
          ]),
          theme.of(themes()),
        ],
      }),
    });
    this.#stopTheme = onTheme(() => this.#view.dispatch({ effects: theme.reconfigure(themes()) }));
  }

  get query(): string {
    return this.#view.state.doc.toString();
  }

  set query(text: string) {
    if (text === this.query) return;
    this.#view.dispatch({ changes: { from: 0, to: this.#view.state.doc.length, insert: text } });
  }

  focus(): void {
    this.#view.focus();
  }

  destroy(): void {
    this.#closing.abort();
    this.#stopTheme();
    this.#view.destroy();
  }
}
