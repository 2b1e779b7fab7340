/** What an open line shows: the whole text, its fields, its JSON as a tree, and the lines around it. */
import { useState } from "preact/hooks";
import { queryLines, type Stream } from "../api";
import { selector, type Labels } from "../format";
import { useAsked } from "../hooks";
import { t } from "../i18n";
import { link, type State } from "../state";
import { formatNanoseconds, isoNanoseconds } from "../time";
import { Problem } from "../widgets";
import { entriesOf, jsonOf, parsedFields, type Entry } from "./entries";
import { JsonTree } from "./json_tree";
import { segmentsOf, visible } from "./segments";
import { FilterButtons, type Narrow } from "./side_bar";

/** An opened line shows this much: a browser stalls on megabytes of one line. */
const OPENED_MAX_CHARS = 100_000;
const AROUND = 10;
/** A line's neighbours are looked for this far away. */
const AROUND_S = 3600;

export function Detail({ entry, narrow, window }: { entry: Entry; narrow: Narrow; window: State }) {
  const [around, setAround] = useState(0);
  const [copied, setCopied] = useState(false);
  const { time_ns, stream, fields, line } = entry;
  const json = jsonOf(line);
  const parsed = parsedFields(line);
  const at_s = Number(BigInt(time_ns) / 1_000_000_000n);
  const here = link("logs", { q: selector(stream), at: time_ns }, { range_s: 600, end_s: at_s + 300 });
  return (
    <>
      <pre tabIndex={0}>
        <bdi>
          {segmentsOf(line.slice(0, OPENED_MAX_CHARS)).map(({ text, class: name }, at) => (
            <span key={at} class={name}>
              {text}
            </span>
          ))}
        </bdi>
      </pre>
      <p class="actions">
        <button type="button" onClick={() => setAround(around === 0 ? AROUND : 0)} aria-pressed={around > 0}>
          {t("logs.around")}
        </button>
        <button
          type="button"
          onClick={() =>
            void navigator.clipboard?.writeText(line).then(
              () => setCopied(true),
              () => setCopied(false),
            )
          }
        >
          {copied ? t("copied") : t("logs.copy")}
        </button>
        <a href={here}>{t("logs.link")}</a>
        {stream["pod"] !== undefined && (
          <a href={link("pod", { ns: stream["namespace"] ?? "", pod: stream["pod"] }, window)}>
            {t("logs.pod")}
          </a>
        )}
      </p>
      {around > 0 && <Around entry={entry} count={around} more={() => setAround(around * 3)} />}
      <div class="columns">
        <Pairs
          title={t("logs.stream")}
          labels={stream}
          narrow={(name, operator, value) => narrow({ name, kind: "stream", parser: "" }, operator, value)}
        />
        <Pairs
          title={t("logs.metadata")}
          labels={fields}
          narrow={(name, operator, value) => narrow({ name, kind: "field", parser: "" }, operator, value)}
        />
        <Pairs
          title={t("logs.parsed", { parser: parsed.parser })}
          labels={Object.fromEntries(parsed.fields)}
          narrow={(name, operator, value) =>
            narrow({ name, kind: "field", parser: parsed.parser }, operator, value)
          }
        />
        {json !== undefined && (
          <div>
            <h3>JSON</h3>
            <JsonTree value={json} />
          </div>
        )}
      </div>
      <p class="note">{isoNanoseconds(time_ns)}</p>
    </>
  );
}

function Pairs({
  title,
  labels,
  narrow,
}: {
  title: string;
  labels: Labels;
  narrow: (name: string, operator: "=" | "!=", value: string) => void;
}) {
  const pairs = Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1));
  if (pairs.length === 0) return null;
  return (
    <div>
      <h3>{title}</h3>
      <table class="pairs">
        <tbody>
          {pairs.map(([name, value]) => (
            <tr key={name}>
              <td>
                <FilterButtons
                  label={`${name} = ${visible(value)}`}
                  narrow={(operator) => narrow(name, operator, value)}
                />
              </td>
              <th scope="row">{visible(name)}</th>
              <td>
                <bdi>{visible(value.slice(0, 2000))}</bdi>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** Lines of the same stream before and after one. */
function Around({ entry, count, more }: { entry: Entry; count: number; more: () => void }) {
  const query = selector(entry.stream);
  const time = BigInt(entry.time_ns);
  const reach = BigInt(AROUND_S) * 1_000_000_000n;
  const { data, error } = useAsked(
    `${entry.key} ${count}`,
    async (run) => {
      const ask = async (
        start_ns: bigint,
        end_ns: bigint,
        direction: "backward" | "forward",
      ): Promise<Entry[]> => {
        const span = { start_ns: String(start_ns), end_ns: String(end_ns), limit: count, direction };
        const { data: found } = await queryLines(query, span, run);
        return entriesOf(found.resultType === "streams" ? (found.result as Stream[]) : [], count);
      };
      const [before, after] = await Promise.all([
        ask(time - reach, time, "backward"),
        ask(time + 1n, time + reach, "forward"),
      ]);
      return [...after, entry, ...before];
    },
    { quiet: true },
  );
  if (error !== null) return <Problem error={error} />;
  if (data === null) return <p class="note">{t("frame.loading")}</p>;
  return (
    <div class="around">
      <ol>
        {data.map((one) => (
          <li key={one.key} class={one === entry || one.key === entry.key ? "chosen" : ""}>
            <span class="time">{formatNanoseconds(one.time_ns)}</span>
            <bdi>
              {segmentsOf(one.line.slice(0, 1000)).map(({ text, class: name }, at) => (
                <span key={at} class={name}>
                  {text}
                </span>
              ))}
            </bdi>
          </li>
        ))}
      </ol>
      <button type="button" onClick={more}>
        {t("logs.more_around")}
      </button>
    </div>
  );
}
