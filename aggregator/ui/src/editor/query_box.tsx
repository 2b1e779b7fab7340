/** A query with its editor; a plain text area stands in its place until the editor is loaded. */
import { useEffect, useRef, useState } from "preact/hooks";
import { t } from "../i18n";
import type { Language } from "../state";
import type { QueryEditor } from "./code_mirror";

export interface QueryBoxProps {
  language: Language;
  query: string;
  /** Enter was pressed, or the button. */
  run: (query: string) => void;
  /** Something was typed. */
  change?: (query: string) => void;
  /** The focus went elsewhere and something had been typed. */
  leave?: (query: string) => void;
  /** The query holds variables. */
  templated?: boolean;
  placeholder?: string;
  label?: string;
  /** The page's first query: the key `/` goes to it. */
  first?: boolean;
}

const EXAMPLES: Readonly<Record<Language, string>> = {
  promql: "rate(node_cpu_seconds_total[5m])",
  logql: '{namespace="default"} |= "error"',
};

export function QueryBox({
  language,
  query,
  run,
  change,
  leave,
  templated = false,
  placeholder,
  label,
  first = true,
}: QueryBoxProps) {
  const place = useRef<HTMLDivElement>(null);
  const editor = useRef<QueryEditor | null>(null);
  const [text, setText] = useState(query);
  const [ready, setReady] = useState(false);
  const newest = useRef({ text, run, change });
  newest.current = { text, run, change };
  const typed = (now: string): void => {
    setText(now);
    newest.current.change?.(now);
  };
  const name = label ?? t(language === "promql" ? "editor.promql" : "editor.logql");
  const hint = placeholder || EXAMPLES[language];

  useEffect(() => {
    let gone = false;
    void import("./code_mirror").then(({ QueryEditor }) => {
      if (gone || place.current === null) return;
      const focused = place.current.contains(document.activeElement);
      const made = new QueryEditor({
        language,
        query: newest.current.text,
        label: name,
        placeholder: hint,
        run: (chosen) => newest.current.run(chosen.trim()),
        change: typed,
        templated,
      });
      made.root.className = "editor-root";
      if (first) made.root.dataset["search"] = "";
      editor.current = made;
      setReady(true);
      place.current.append(made.root);
      if (focused) made.focus();
    });
    return () => {
      gone = true;
      editor.current?.root.remove();
      editor.current?.destroy();
      editor.current = null;
    };
  }, []);
  useEffect(() => {
    // Who follows every change gives back what was typed a moment ago: it must not undo what came since.
    if (newest.current.change !== undefined) return;
    setText(query);
    if (editor.current !== null) editor.current.query = query;
  }, [query]);

  return (
    <form
      class="query"
      onFocusOut={(event) => {
        const to = event.relatedTarget;
        if (to instanceof Node && event.currentTarget.contains(to)) return;
        if (text.trim() !== query.trim()) leave?.(text.trim());
      }}
      onSubmit={(event) => {
        event.preventDefault();
        run(text.trim());
      }}
    >
      <div class="editor" ref={place}>
        {!ready && (
          <textarea
            rows={1}
            aria-label={name}
            placeholder={hint}
            value={text}
            spellcheck={false}
            onInput={(event) => typed(event.currentTarget.value)}
            onKeyDown={(event) => {
              if (event.key !== "Enter" || event.shiftKey) return;
              event.preventDefault();
              run(text.trim());
            }}
          />
        )}
      </div>
      {change === undefined && (
        <button type="submit" class="run" title="Enter">
          {t("editor.run")}
        </button>
      )}
    </form>
  );
}
