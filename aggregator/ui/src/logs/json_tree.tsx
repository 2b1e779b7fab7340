/** A JSON value as a tree that opens and closes. */
import { visible } from "./segments";

/** More members than this are not listed: the text above has them all. */
const MEMBERS_MAX = 200;
/** Deeper than this a tree starts closed. */
const OPEN_DEPTH = 2;

export function JsonTree({ value, depth = 0 }: { value: unknown; depth?: number }) {
  if (typeof value !== "object" || value === null) {
    const kind = value === null ? "null" : typeof value;
    return <span class={`json-${kind}`}>{visible(JSON.stringify(value) ?? "")}</span>;
  }
  const members = Object.entries(value);
  const [open, close] = Array.isArray(value) ? ["[", "]"] : ["{", "}"];
  if (members.length === 0) return <span>{`${open}${close}`}</span>;
  return (
    <details open={depth < OPEN_DEPTH} class="json">
      <summary>
        {open}
        <span class="closed">{` ${members.length} ${close}`}</span>
      </summary>
      <ul>
        {members.slice(0, MEMBERS_MAX).map(([name, inner]) => (
          <li key={name}>
            {!Array.isArray(value) && <span class="json-key">{visible(name)}: </span>}
            <JsonTree value={inner} depth={depth + 1} />
          </li>
        ))}
        {members.length > MEMBERS_MAX && <li>…</li>}
      </ul>
      {close}
    </details>
  );
}
