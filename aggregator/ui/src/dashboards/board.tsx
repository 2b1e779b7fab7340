/** One dashboard: its panels, and the tools to change, save, export and delete it. */
import { useMemo, useState } from "preact/hooks";
import { may } from "../access/session";
import { deleteKept, idOf, isConflict, putKept, versionsOf, type Kept } from "../documents";
import { download } from "../download";
import { TextField, Typed } from "../fields";
import { useAsked } from "../hooks";
import { formatAgo, formatDate, t } from "../i18n";
import { Modal } from "../modal";
import { go, link, withParams, type State } from "../state";
import { chooseStep, gridOf } from "../time";
import { Problem } from "../widgets";
import { Choice } from "./choice";
import { draftFor, dropDraft, setDraft, undo } from "./drafts";
import {
  addPanel,
  draftOf,
  exported,
  panelOf,
  placed as placedAt,
  settled,
  stepped,
  textOf,
  variablesOf,
  withPanel,
  withVariables,
  type Draft,
} from "./edit";
import { importGrafana } from "./grafana";
import { layout } from "./layout";
import { resolve } from "./load";
import { KINDS, type Dashboard } from "./model";
import { PanelForm, VariableForm } from "./panel_form";
import { PanelPlace, type Tools } from "./panel_place";
import type { Bag } from "./read";
import { saveNew } from "./shelf";
import { formatChoices, parseChoices } from "./variables";

const LEAST_STEP_S = 15;
/** How often it is asked whether somebody else saved. */
const WATCH_S = 10;

export function Board({
  name,
  json,
  kept,
  state,
  reload = () => {},
  saved = () => {},
}: {
  /** As in the address. */
  name: string;
  json: string;
  /** What the aggregator says of it; none of one that is built in. */
  kept: Kept | null;
  state: State;
  /** Asks for it again. */
  reload?: () => void;
  /** Takes what was saved, to be shown from then on. */
  saved?: (kept: Kept) => void;
}) {
  const [, redraw] = useState(0);
  const own = state.params.edit === "1" ? draftFor(name) : null;
  const shown = own === null ? json : textOf(own.draft);
  const read = useMemo((): Dashboard | Error => {
    try {
      return importGrafana(shown);
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error));
    }
  }, [shown]);
  const editing = state.params.edit === "1" && may("change");
  const source = (): Draft => draftFor(name)?.draft ?? draftOf(JSON.parse(json));
  const change = (draft: Draft): void => {
    // The first step is what it was, so that the first change can be taken back.
    if (draftFor(name) === null) setDraft(name, draftOf(JSON.parse(json)), kept?.tag ?? "");
    setDraft(name, draft, kept?.tag ?? "");
    redraw((n) => n + 1);
  };
  if (read instanceof Error) return <Problem error={read} />;
  return (
    <Drawn
      name={name}
      json={shown}
      board={read}
      kept={kept}
      state={state}
      reload={reload}
      saved={saved}
      edit={
        editing
          ? {
              draft: source(),
              change,
              undo: () => {
                undo(name);
                redraw((n) => n + 1);
              },
            }
          : null
      }
    />
  );
}

interface Editing {
  draft: Draft;
  change: (draft: Draft) => void;
  undo: () => void;
}

function Drawn({
  name,
  json,
  board,
  kept,
  state,
  edit,
  reload,
  saved,
}: {
  name: string;
  json: string;
  board: Dashboard;
  kept: Kept | null;
  state: State;
  edit: Editing | null;
  reload: () => void;
  saved: (kept: Kept) => void;
}) {
  const [turned, setTurned] = useState<ReadonlySet<string>>(new Set());
  const chosen = parseChoices(state.params.vars ?? "");
  const step_s = chooseStep(state.range_s, 600, LEAST_STEP_S);
  const resolved = useAsked(
    JSON.stringify(["variables", name, board.variables, state.params.vars, state.range_s, state.end_s]),
    (run) => resolve(board, chosen, gridOf(state, step_s, Date.now() / 1000), run),
    { quiet: true },
  );
  const choose = (variable: string, values: readonly string[]): void =>
    go(withParams(state, { vars: formatChoices({ ...chosen, [variable]: values }) }));
  const places =
    resolved.data === null ? [] : layout(board, resolved.data.values, resolved.data.options, turned);
  const notes = [...board.unsupported, ...(resolved.data?.notes ?? [])];
  const open = (panel: string): void => go(withParams(state, { panel }));
  const tools = (id: number): Tools | null =>
    edit === null
      ? null
      : {
          edit: () => open(String(id)),
          remove: () => edit.change(settled(withPanel(edit.draft, id, () => null))),
          step: (dx, dy) => edit.change(stepped(edit.draft, id, dx, dy)),
          grow: (dw, dh) => {
            const grid = places.find(({ panel }) => panel.id === id)?.panel.grid;
            if (grid !== undefined) edit.change(placedAt(edit.draft, id, { ...grid, w: grid.w + dw, h: grid.h + dh }));
          },
          put: (grid, from) => edit.change(placedAt(from, id, grid)),
          draft: edit.draft,
        };
  const panel = edit === null ? null : panelOf(edit.draft, Number(state.params.panel ?? Number.NaN));
  return (
    <div class={edit === null ? "board" : "board editing"}>
      <div class="toolbar">
        {edit === null ? (
          <h1>{board.title}</h1>
        ) : (
          <h1>
            <Typed
              label={t("edit.board_title")}
              value={board.title}
              change={(title) => edit.change({ ...edit.draft, title })}
            />
          </h1>
        )}
        {board.variables
          .filter(({ hidden }) => !hidden)
          .map((variable) => (
            <Choice key={variable.name} variable={variable} resolved={resolved.data} choose={choose} />
          ))}
        <a href={link("dashboards", {}, state)}>{t("boards.all")}</a>
        <Actions name={name} json={json} title={board.title} kept={kept} state={state} edit={edit} reload={reload} saved={saved} />
      </div>
      {kept !== null && <Watch name={name} kept={kept} state={state} reload={reload} saved={saved} />}
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
      {resolved.data !== null && places.length === 0 && (
        <p class="note">{t(edit === null ? "boards.no_panels" : "edit.no_panels")}</p>
      )}
      <div class="panels">
        {(edit === null ? places : [...places].sort((a, b) => (a.key < b.key ? -1 : 1))).map((one) => (
          <PanelPlace
            key={one.key}
            placed={one}
            state={state}
            step_s={step_s}
            turn={() => setTurned(flipped(turned, one.key))}
            tools={tools(one.panel.id)}
          />
        ))}
      </div>
      {edit !== null && panel !== null && (
        <PanelForm
          key={panel.id}
          panel={panel}
          change={(next) => edit.change(withPanel(edit.draft, panel.id, () => next))}
          place={(grid) => edit.change(placedAt(edit.draft, panel.id, grid))}
          close={() => open("")}
        />
      )}
      {edit !== null && state.params.panel === "variables" && (
        <VariableForm
          variables={variablesOf(edit.draft)}
          change={(variables) => edit.change(withVariables(edit.draft, variables))}
          close={() => open("")}
        />
      )}
    </div>
  );
}

function flipped(set: ReadonlySet<string>, key: string): Set<string> {
  const next = new Set(set);
  if (!next.delete(key)) next.add(key);
  return next;
}

/** The buttons of a dashboard, and what they ask. */
function Actions({
  name,
  json,
  title,
  kept,
  state,
  edit,
  reload,
  saved,
}: {
  name: string;
  json: string;
  title: string;
  kept: Kept | null;
  state: State;
  edit: Editing | null;
  reload: () => void;
  saved: (kept: Kept) => void;
}) {
  const [asking, setAsking] = useState<"save_as" | "delete" | "history" | null>(null);
  const [other, setOther] = useState("");
  const [error, setError] = useState<Error | null>(null);
  const [busy, setBusy] = useState(false);
  const own = draftFor(name);
  const readOnly = kept === null || kept.provisioned;
  const mayChange = may("change");
  const isOld = (state.params.version ?? "") !== "";
  const doing = async (work: () => Promise<void>): Promise<void> => {
    setBusy(true);
    setError(null);
    try {
      await work();
    } catch (failure) {
      setError(failure instanceof Error ? failure : new Error(String(failure)));
    }
    setBusy(false);
  };
  const signal = new AbortController().signal;
  const done = (board: string): void => {
    dropDraft(name);
    const { range_s, end_s } = state;
    const target = withParams(state, { board, edit: "", panel: "", version: "" });
    setAsking(null);
    go({ ...target, range_s, end_s });
  };
  const save = (): Promise<void> =>
    doing(async () => {
      if (kept === null || edit === null) return;
      saved(await putKept("dashboards", kept.id, textOf(edit.draft), own?.tag ?? kept.tag, signal));
      done(name);
    });
  return (
    <span class="export">
      {edit === null ? (
        mayChange && (
          <button type="button" onClick={() => go(withParams(state, { edit: "1" }))}>
            {t("edit.begin")}
          </button>
        )
      ) : (
        <>
          <select
            aria-label={t("edit.add")}
            value=""
            onChange={(event) => {
              const type = event.currentTarget.value;
              if (type === "") return;
              event.currentTarget.value = "";
              const added = addPanel(edit.draft, type, t(type === "row" ? "edit.new_row" : "edit.new_panel"));
              edit.change(added.board);
              if (type !== "row") go(withParams(state, { panel: String(added.id) }));
            }}
          >
            <option value="">{t("edit.add")}</option>
            {KINDS.map((kind) => (
              <option key={kind} value={kind}>
                {t(`kind.${kind}`)}
              </option>
            ))}
          </select>
          <button type="button" onClick={() => go(withParams(state, { panel: "variables" }))}>
            {t("edit.variables")}
          </button>
          <button type="button" disabled={own?.canUndo !== true} onClick={edit.undo}>
            {t("edit.undo")}
          </button>
          {!readOnly && (
            <button type="button" class="run" disabled={busy || own?.canUndo !== true} onClick={() => void save()}>
              {t("edit.save")}
            </button>
          )}
        </>
      )}
      {mayChange && (edit !== null || readOnly || isOld) && (
        <button
          type="button"
          onClick={() => {
            setOther(readOnly || isOld ? title : t("edit.copy_of", { title }));
            setAsking("save_as");
          }}
        >
          {t("edit.save_as")}
        </button>
      )}
      {edit !== null && (
        <button type="button" onClick={() => done(name)}>
          {t(own?.canUndo === true ? "edit.discard" : "edit.end")}
        </button>
      )}
      <button
        type="button"
        onClick={() =>
          download(`${idOf(title)}.json`, JSON.stringify(exported(draftOf(JSON.parse(json))), null, 2))
        }
      >
        {t("boards.export")}
      </button>
      {!readOnly && edit === null && (
        <>
          <button type="button" onClick={() => setAsking("history")}>
            {t("edit.history")}
          </button>
          {mayChange && (
            <button type="button" onClick={() => setAsking("delete")}>
              {t("boards.forget")}
            </button>
          )}
        </>
      )}
      {readOnly && edit !== null && (
        <span class="note">{t(kept === null ? "edit.built_in" : "edit.provisioned")}</span>
      )}
      {asking === null && <Problem error={error} />}
      {asking === null && isConflict(error) && (
        <button
          type="button"
          onClick={() => {
            dropDraft(name);
            reload();
          }}
        >
          {t("edit.load_theirs")}
        </button>
      )}
      {asking === "save_as" && (
        <Modal
          title={t("edit.save_as")}
          close={() => setAsking(null)}
          action={t("edit.save")}
          act={() =>
            void doing(async () => {
              const copy: Bag = { ...draftOf(JSON.parse(json)), title: other };
              // Another dashboard: with Grafana's ids it would replace the first one there.
              const { id: _, uid: __, ...rest } = copy;
              done(`saved:${await saveNew(other, JSON.stringify(rest, null, 2))}`);
            })
          }
        >
          <TextField label={t("edit.board_title")} value={other} change={setOther} />
          <Problem error={error} />
        </Modal>
      )}
      {asking === "delete" && kept !== null && (
        <Modal
          title={t("edit.delete_title", { title })}
          close={() => setAsking(null)}
          action={t("boards.forget")}
          act={() =>
            void doing(async () => {
              await deleteKept("dashboards", kept.id, kept.tag, signal);
              done("");
            })
          }
        >
          <p>{t("edit.delete_text")}</p>
          <Problem error={error} />
        </Modal>
      )}
      {asking === "history" && kept !== null && (
        <Modal title={t("edit.history")} close={() => setAsking(null)} action={t("help.close")} act={() => setAsking(null)}>
          <History kept={kept} state={state} close={() => setAsking(null)} />
        </Modal>
      )}
    </span>
  );
}

/** Tells that somebody else saved, and which version is shown when it is an old one. */
function Watch({
  name,
  kept,
  state,
  reload,
  saved,
}: {
  name: string;
  kept: Kept;
  state: State;
  reload: () => void;
  saved: (kept: Kept) => void;
}) {
  const { data } = useAsked(
    `versions ${kept.id}`,
    (run) => versionsOf("dashboards", kept.id, run.signal),
    { repeat: true, interval_s: WATCH_S, quiet: true },
  );
  const newest = data?.[0];
  const old = (state.params.version ?? "") !== "";
  if (old) {
    return (
      <p class="told" role="status">
        {t("edit.old", { n: kept.version, date: formatDate(kept.saved_ms / 1000) })}{" "}
        <a href={link("dashboards", { board: name }, state)}>{t("edit.newest")}</a>
        {newest !== undefined && may("change") && <Restore kept={kept} tag={newest.tag} name={name} state={state} saved={saved} />}
      </p>
    );
  }
  if (newest === undefined || newest.tag === kept.tag) return null;
  const words = kept.provisioned
    ? t("edit.file_changed")
    : t("edit.changed", { n: newest.version, by: newest.by || t("edit.somebody") });
  return (
    <p class="told" role="status">
      {`${words} `}
      <button
        type="button"
        onClick={() => {
          dropDraft(name);
          reload();
        }}
      >
        {t(draftFor(name) === null ? "edit.load" : "edit.load_theirs")}
      </button>
    </p>
  );
}

function Restore({
  kept,
  tag,
  name,
  state,
  saved,
}: {
  kept: Kept;
  tag: string;
  name: string;
  state: State;
  saved: (kept: Kept) => void;
}) {
  const [error, setError] = useState<Error | null>(null);
  const restore = async (): Promise<void> => {
    try {
      const text = JSON.stringify(kept.document, null, 2);
      saved(await putKept("dashboards", kept.id, text, tag, new AbortController().signal));
      go(withParams(state, { board: name, version: "", edit: "" }));
    } catch (failure) {
      setError(failure instanceof Error ? failure : new Error(String(failure)));
    }
  };
  return (
    <>
      {" "}
      <button type="button" onClick={() => void restore()}>
        {t("edit.restore")}
      </button>
      <Problem error={error} />
    </>
  );
}

function History({ kept, state, close }: { kept: Kept; state: State; close: () => void }) {
  const { data, error } = useAsked(
    `history ${kept.id}`,
    (run) => versionsOf("dashboards", kept.id, run.signal),
    { quiet: true },
  );
  return (
    <>
      <Problem error={error} />
      <ul class="versions">
        {(data ?? []).map(({ version, saved_ms, by, title }, nth) => (
          <li key={version}>
            <a
              href={link("dashboards", { board: `saved:${kept.id}`, ...(nth === 0 ? {} : { version: String(version) }) }, state)}
              onClick={close}
            >
              {t("edit.version", { n: version })}
            </a>
            <span>{title}</span>
            <span class="faint">
              {[formatAgo(Date.now() / 1000 - saved_ms / 1000), by].filter(Boolean).join(" · ")}
            </span>
          </li>
        ))}
      </ul>
    </>
  );
}
