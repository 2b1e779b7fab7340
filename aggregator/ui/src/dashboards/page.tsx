/**
 * The page of dashboards: those that are built in, and Grafana's, read from a file or from text and
 * kept in this browser. What of them is not drawn is listed above them.
 */
import type { ComponentChildren } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { useAsked } from "../hooks";
import { t, type Key } from "../i18n";
import { go, link, queryLink, withParams, type State } from "../state";
import { chooseStep, gridOf } from "../time";
import { Nothing, Problem } from "../widgets";
import { BUILT_IN } from "./builtin";
import { importGrafana } from "./grafana";
import { forget, keep, keptBoards, slug } from "./kept";
import { layout, type Placed } from "./layout";
import { loadPanel, resolve, type Resolved } from "./load";
import type { Dashboard, Variable } from "./model";
import { DRAW } from "./panels";
import { TextPanel } from "./text";
import { ALL, formatChoices, interpolate, parseChoices } from "./variables";

const REFRESH_S = 15;
const LEAST_STEP_S = 15;
/** Height of one of Grafana's rows, and the gap between two. */
const ROW_PX = 30;
const GAP_PX = 8;
/** Kinds whose content may be taller than they are; a keyboard scrolls what has the focus. */
const SCROLLING: ReadonlySet<string> = new Set(["stat", "gauge", "bargauge", "piechart"]);
/** A text box takes minutes for a text of this length with its lines; it is imported at once instead. */
const LONG_CHARS = 20_000;
/** What a panel's title and padding take. */
const HEAD_PX = 44;

export function DashboardsPage({ state }: { state: State }) {
  const name = state.params.board ?? "";
  const own = keptBoards();
  const json = own[name.replace(/^own:/, "")];
  const text = name.startsWith("own:") ? json : Object.hasOwn(BUILT_IN, name) ? BUILT_IN[name] : undefined;
  if (name === "") return <Shelf state={state} own={own} />;
  if (text === undefined) {
    return (
      <Nothing title={t("boards.unknown", { name })}>
        <a href={link("dashboards", {}, state)}>{t("boards.all")}</a>
      </Nothing>
    );
  }
  return <Board key={name} name={name} json={text} state={state} />;
}

/** All dashboards, and the place to import one. */
function Shelf({ state, own }: { state: State; own: Record<string, string> }) {
  const [error, setError] = useState<Error | null>(null);
  const [text, setText] = useState("");
  const take = (json: string): void => {
    try {
      const { title } = importGrafana(json);
      const name = slug(title);
      if (!keep(name, json)) throw new Error(t("boards.full"));
      go(withParams(state, { board: `own:${name}` }));
    } catch (failure) {
      setError(failure instanceof Error ? failure : new Error(String(failure)));
    }
  };
  const file = (list: FileList | null | undefined): void => {
    const first = list?.[0];
    if (first !== undefined) void first.text().then(take);
  };
  return (
    <div class="shelf">
      <h1 class="unseen">{t("page.dashboards")}</h1>
      <section class="card" aria-label={t("boards.built_in")}>
        <h2>{t("boards.built_in")}</h2>
        <ul>
          {Object.keys(BUILT_IN).map((name) => (
            <li key={name}>
              <a href={link("dashboards", { board: name }, state)}>{t(`page.${name}` as Key)}</a>
            </li>
          ))}
        </ul>
      </section>
      <section class="card" aria-label={t("boards.own")}>
        <h2>{t("boards.own")}</h2>
        {Object.keys(own).length === 0 && <p class="note">{t("boards.none")}</p>}
        <ul>
          {Object.entries(own).map(([name, json]) => (
            <li key={name}>
              <a href={link("dashboards", { board: `own:${name}` }, state)}>{titleOf(json, name)}</a>
            </li>
          ))}
        </ul>
      </section>
      <section
        class="card"
        aria-label={t("boards.import")}
        onDragOver={(event) => event.preventDefault()}
        onDrop={(event) => {
          event.preventDefault();
          file(event.dataTransfer?.files);
        }}
      >
        <h2>{t("boards.import")}</h2>
        <p class="note">{t("boards.import_help")}</p>
        <input
          type="file"
          accept=".json,application/json"
          aria-label={t("boards.file")}
          onChange={(event) => file(event.currentTarget.files)}
        />
        <textarea
          rows={5}
          aria-label={t("boards.paste")}
          placeholder={t("boards.paste")}
          value={text}
          onInput={(event) => setText(event.currentTarget.value)}
          onPaste={(event) => {
            const pasted = event.clipboardData?.getData("text/plain") ?? "";
            if (pasted.length < LONG_CHARS) return;
            event.preventDefault();
            take(pasted);
          }}
        />
        <button type="button" disabled={text.trim() === ""} onClick={() => take(text)}>
          {t("boards.import")}
        </button>
        <Problem error={error} />
      </section>
    </div>
  );
}

function titleOf(json: string, name: string): string {
  try {
    return importGrafana(json).title;
  } catch {
    return name;
  }
}

function Board({ name, json, state }: { name: string; json: string; state: State }) {
  const read = useMemo((): Dashboard | Error => {
    try {
      return importGrafana(json);
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error));
    }
  }, [json]);
  if (read instanceof Error) return <Problem error={read} />;
  return <Drawn name={name} json={json} board={read} state={state} />;
}

function Drawn({ name, json, board, state }: { name: string; json: string; board: Dashboard; state: State }) {
  const [turned, setTurned] = useState<ReadonlySet<string>>(new Set());
  const chosen = parseChoices(state.params.vars ?? "");
  const step_s = chooseStep(state.range_s, 600, LEAST_STEP_S);
  const resolved = useAsked(
    JSON.stringify(["variables", name, state.params.vars, state.range_s, state.end_s]),
    (run) => resolve(board, chosen, gridOf(state, step_s, Date.now() / 1000), run),
    { quiet: true },
  );
  const choose = (variable: string, values: readonly string[]): void =>
    go(withParams(state, { vars: formatChoices({ ...chosen, [variable]: values }) }));
  const placed =
    resolved.data === null ? [] : layout(board, resolved.data.values, resolved.data.options, turned);
  const notes = [...board.unsupported, ...(resolved.data?.notes ?? [])];
  return (
    <div class="board">
      <div class="toolbar">
        <h1>{board.title}</h1>
        {board.variables
          .filter(({ hidden }) => !hidden)
          .map((variable) => (
            <Choice key={variable.name} variable={variable} resolved={resolved.data} choose={choose} />
          ))}
        <a href={link("dashboards", {}, state)}>{t("boards.all")}</a>
        <span class="export">
          <button type="button" onClick={() => download(`${slug(board.title)}.json`, json)}>
            {t("boards.export")}
          </button>
          {name.startsWith("own:") && (
            <button
              type="button"
              onClick={() => {
                forget(name.slice(4));
                go(withParams(state, { board: "", vars: "" }));
              }}
            >
              {t("boards.forget")}
            </button>
          )}
        </span>
      </div>
      {notes.length > 0 && (
        <details class="unsupported">
          <summary>{t("boards.unsupported", { n: notes.length })}</summary>
          <ul>
            {notes.map((note) => (
              <li key={note}>{note}</li>
            ))}
          </ul>
        </details>
      )}
      <Problem error={resolved.error} />
      {resolved.data === null && resolved.error === null && <p class="note">{t("frame.loading")}</p>}
      <div class="panels">
        {placed.map((one) => (
          <Place
            key={one.key}
            placed={one}
            state={state}
            step_s={step_s}
            turn={() => setTurned(flipped(turned, one.key))}
          />
        ))}
      </div>
    </div>
  );
}

function flipped(set: ReadonlySet<string>, key: string): Set<string> {
  const next = new Set(set);
  if (!next.delete(key)) next.add(key);
  return next;
}

function download(name: string, json: string): void {
  const url = URL.createObjectURL(new Blob([json], { type: "application/json" }));
  const anchor = document.createElement("a");
  anchor.href = url;
  anchor.download = name;
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

function Choice({
  variable,
  resolved,
  choose,
}: {
  variable: Variable;
  resolved: Resolved | null;
  choose: (name: string, values: readonly string[]) => void;
}) {
  const options = resolved?.options[variable.name] ?? [];
  const values = resolved?.values[variable.name] ?? [];
  if (variable.kind === "textbox") {
    return (
      <label>
        {`${variable.label} `}
        <input
          type="text"
          value={values[0] ?? ""}
          onChange={(event) => choose(variable.name, [event.currentTarget.value])}
        />
      </label>
    );
  }
  const all = values.includes(ALL) || (variable.allValue !== "" && values.includes(variable.allValue));
  return (
    <label>
      {`${variable.label} `}
      <select
        multiple={variable.multi && options.length > 1}
        size={1}
        onChange={(event) =>
          choose(
            variable.name,
            [...event.currentTarget.selectedOptions].map(({ value }) => value),
          )
        }
      >
        {variable.all && (
          <option value={ALL} selected={all}>
            {t("boards.every")}
          </option>
        )}
        {options.map((option) => (
          <option key={option} value={option} selected={!all && values.includes(option)}>
            {option}
          </option>
        ))}
      </select>
    </label>
  );
}

function Place({
  placed,
  state,
  step_s,
  turn,
}: {
  placed: Placed;
  state: State;
  step_s: number;
  turn: () => void;
}) {
  const { panel, values } = placed;
  const { x, y, w, h } = panel.grid;
  const style = {
    gridColumn: `${x + 1} / span ${Math.min(w, 24 - x)}`,
    gridRow: `${y + 1} / span ${h}`,
    "--rows": String(h),
  };
  const title = interpolate(panel.title, values, "text");
  if (panel.kind === "row") {
    return (
      <div class="panel-row" style={style}>
        <button type="button" class="plain" aria-expanded={!panel.closed} onClick={turn}>
          {panel.closed ? "▸" : "▾"} {title}
        </button>
      </div>
    );
  }
  return (
    <section class="card panel" style={style} aria-label={title} title={panel.description}>
      {panel.kind === "text" ? (
        <>
          {title !== "" && <h2>{title}</h2>}
          {panel.unknown === "" ? (
            <TextPanel text={interpolate(panel.text, values, "text")} />
          ) : (
            <p class="note">{t("boards.not_drawn", { type: panel.unknown })}</p>
          )}
        </>
      ) : (
        <Near>{() => <Asked placed={placed} title={title} state={state} step_s={step_s} />}</Near>
      )}
    </section>
  );
}

/** A panel far from the screen asks nothing: a dashboard may have hundreds. */
function Near({ children }: { children: () => ComponentChildren }): ComponentChildren {
  const place = useRef<HTMLDivElement>(null);
  const [near, setNear] = useState(false);
  useEffect(() => {
    if (place.current === null) return;
    const observer = new IntersectionObserver((all) => setNear(all.at(-1)?.isIntersecting ?? false), {
      rootMargin: "300px",
    });
    observer.observe(place.current);
    return () => observer.disconnect();
  }, []);
  return (
    <div class="near" ref={place}>
      {near && children()}
    </div>
  );
}

/** A panel with data of its own. */
function Asked({
  placed,
  title,
  state,
  step_s,
}: {
  placed: Placed;
  title: string;
  state: State;
  step_s: number;
}): ComponentChildren {
  const { panel, values } = placed;
  const { data, error } = useAsked(
    JSON.stringify([panel.targets, values, state.range_s, state.end_s]),
    (run) => loadPanel(panel, values, gridOf(state, step_s, Date.now() / 1000), run),
    { repeat: state.live, interval_s: REFRESH_S },
  );
  const first = panel.targets[0];
  const height = panel.grid.h * (ROW_PX + GAP_PX) - GAP_PX - HEAD_PX;
  const Draw = panel.kind === "row" || panel.kind === "text" ? null : DRAW[panel.kind];
  const empty = data !== null && data.series.length === 0 && data.entries.length === 0;
  return (
    <>
      <h2>
        {first === undefined ? (
          title
        ) : (
          <a href={queryLink(first.language, interpolate(first.query, values, first.language), state)}>
            {title || "·"}
          </a>
        )}
      </h2>
      {error !== null && <p class="note bad">{error.message}</p>}
      {empty && <p class="note">{panel.targets.length === 0 ? t("boards.no_query") : t("metrics.none")}</p>}
      <div class="panel-body" {...(SCROLLING.has(panel.kind) ? { tabIndex: 0 } : {})}>
        {data !== null && !empty && Draw !== null && (
          <Draw panel={panel} data={data} state={state} height={height} />
        )}
      </div>
    </>
  );
}
