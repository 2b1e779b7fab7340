/**
 * The text of a text panel: the few marks of Markdown that dashboards use. Nothing of it is ever
 * read as markup, and links lead to http, https or a place of this page only.
 */
import type { ComponentChildren } from "preact";

const LINES_MAX = 500;

const ENTITIES: Readonly<Record<string, string>> = {
  amp: "&",
  lt: "<",
  gt: ">",
  quot: '"',
  nbsp: " ",
  "#39": "'",
};

/** HTML without its tags. What is left is drawn as text, so nothing that slips through does harm. */
function plain(text: string): string {
  if (!/<[a-z!/]/i.test(text)) return text;
  return text
    .replace(/<(script|style)\b[\s\S]*?<\/\1>/gi, "")
    .replace(/<(?:br|\/p|\/li|\/h\d|\/div)\b[^>]*>/gi, "\n")
    .replace(/<[^>]*>/g, "")
    .replace(/&(\w+|#39);/g, (whole, name: string) => ENTITIES[name] ?? whole);
}

const INLINE = /\*\*([^*]+)\*\*|`([^`]+)`|\[([^\]]+)\]\(([^)\s]+)\)/g;

function inline(text: string): ComponentChildren[] {
  const parts: ComponentChildren[] = [];
  let end = 0;
  for (const match of text.matchAll(INLINE)) {
    parts.push(text.slice(end, match.index));
    const [whole, bold, code, label, target] = match;
    if (bold !== undefined) parts.push(<strong>{bold}</strong>);
    else if (code !== undefined) parts.push(<code>{code}</code>);
    else if (/^(https?:\/\/|#\/)/.test(target ?? "")) {
      parts.push(
        <a href={target} rel="noopener noreferrer">
          {label}
        </a>,
      );
    } else parts.push(label);
    end = match.index + whole.length;
  }
  return [...parts, text.slice(end)];
}

export function TextPanel({ text }: { text: string }) {
  const lines = plain(text).split("\n").slice(0, LINES_MAX);
  return (
    <div class="text-panel" tabIndex={0}>
      {lines.map((line, at) => {
        const heading = /^(#{1,6})\s+(.*)$/.exec(line);
        const item = /^\s*[-*]\s+(.*)$/.exec(line);
        if (heading !== null)
          return (
            <p key={at} class="heading">
              {inline(heading[2] ?? "")}
            </p>
          );
        return <p key={at}>{item === null ? inline(line) : ["• ", ...inline(item[1] ?? "")]}</p>;
      })}
    </div>
  );
}
