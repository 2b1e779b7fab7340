/**
 * A log line as pieces of text to show. Pure. The one rule: every character of the line is there to
 * be seen — terminal colours become classes, and whatever would move, hide or turn around text is
 * written as an escape.
 */

export interface Segment {
  text: string;
  /** Class names: of a terminal's colours, `escape` for a written-out character, `mark` for a find. */
  class: string;
}

/** A terminal's "select graphic rendition", and its other sequences, which say nothing here. */
const SEQUENCE = /\u001b(?:\[([0-9;:]*)([@-~])|\][^\u0007\u001b]*(?:\u0007|\u001b\\)|[@-Z\\^_=>78])/g;

/**
 * Control characters but tab and newline, marks that turn the direction of text, and characters
 * without width that hide differences.
 */
const HIDDEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]|\udb40[\udc00-\udfff]/g;

const NAMES = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];

/** What a colour sequence leaves set. */
interface Style {
  color: string;
  bold: boolean;
  faint: boolean;
  underlined: boolean;
}

const PLAIN: Style = { color: "", bold: false, faint: false, underlined: false };

function applied(style: Style, codes: string): Style {
  let next = { ...style };
  const numbers = codes.split(/[;:]/).map(Number);
  for (let at = 0; at < numbers.length; at += 1) {
    const code = numbers[at] ?? 0;
    if (code === 0) next = { ...PLAIN };
    else if (code === 1) next.bold = true;
    else if (code === 2) next.faint = true;
    else if (code === 4) next.underlined = true;
    else if (code === 22) next.bold = next.faint = false;
    else if (code === 24) next.underlined = false;
    else if (code === 39) next.color = "";
    else if (code >= 30 && code <= 37) next.color = NAMES[code - 30] ?? "";
    else if (code >= 90 && code <= 97) next.color = NAMES[code - 90] ?? "";
    // Of 256 colours the first sixteen are the named ones; the others, and true colours, stay plain.
    else if (code === 38 || code === 48) {
      const kind = numbers[at + 1];
      if (code === 38 && kind === 5) next.color = NAMES[(numbers[at + 2] ?? 99) % 8] ?? "";
      at += kind === 5 ? 2 : kind === 2 ? 4 : 0;
    }
  }
  return next;
}

function classOf({ color, bold, faint, underlined }: Style): string {
  return [
    color && `ansi-${color}`,
    bold && "ansi-bold",
    faint && "ansi-faint",
    underlined && "ansi-underlined",
  ]
    .filter(Boolean)
    .join(" ");
}

/** A hidden character as it is written: `\u202e`. */
export function escaped(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  if (code < 0x100) return `\\x${code.toString(16).padStart(2, "0")}`;
  return code > 0xffff ? `\\u{${code.toString(16)}}` : `\\u${code.toString(16).padStart(4, "0")}`;
}

/** Text with hidden characters written out, for places that cannot mark them. */
export function visible(text: string): string {
  return text.replace(HIDDEN, escaped);
}

/** Splits at every match of `pattern`. */
function split(
  text: string,
  className: string,
  pattern: RegExp,
  found: (match: string) => Segment,
): Segment[] {
  const parts: Segment[] = [];
  let end = 0;
  for (const match of text.matchAll(pattern)) {
    if (match[0] === "") continue;
    if (match.index > end) parts.push({ text: text.slice(end, match.index), class: className });
    parts.push(found(match[0]));
    end = match.index + match[0].length;
  }
  if (end < text.length) parts.push({ text: text.slice(end), class: className });
  return parts;
}

/** The pieces of a line; `finds` are texts that the query looks for. */
export function segmentsOf(line: string, finds: readonly string[] = []): Segment[] {
  const styled: Segment[] = [];
  let style = PLAIN;
  let end = 0;
  for (const match of line.matchAll(SEQUENCE)) {
    if (match.index > end) styled.push({ text: line.slice(end, match.index), class: classOf(style) });
    if (match[2] === "m") style = applied(style, match[1] ?? "");
    end = match.index + match[0].length;
  }
  if (end < line.length) styled.push({ text: line.slice(end), class: classOf(style) });
  const words = finds.filter(Boolean).map((text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  const marked = words.length === 0 ? null : new RegExp(words.join("|"), "g");
  return styled.flatMap((piece) => {
    const shown = split(piece.text, piece.class, HIDDEN, (match) => ({
      text: escaped(match),
      class: "escape",
    }));
    if (marked === null) return shown;
    return shown.flatMap((part) =>
      part.class === "escape"
        ? [part]
        : split(part.text, part.class, marked, (match) => ({
            text: match,
            class: `${part.class} mark`.trim(),
          })),
    );
  });
}
