/** All dashboards: those built in, those saved in the aggregator, those from files and ConfigMaps; and the place to import one. */
import { useState } from "preact/hooks";
import { LookOnly } from "../access/needs";
import { may } from "../access/session";
import { idOf, isConflict, listWithNotes, putKept, type Version } from "../documents";
import { useAsked } from "../hooks";
import { formatAgo, t, type Key } from "../i18n";
import { go, link, withParams, type State } from "../state";
import { FilterBox, Problem } from "../widgets";
import { BUILT_IN } from "./builtin";
import { emptyBoard, textOf } from "./edit";
import { importGrafana } from "./grafana";
import { forget, keptBoards } from "./kept";

/** A text box takes minutes for a text of this length with its lines; it is imported at once instead. */
const LONG_CHARS = 20_000;
/** Rows that are drawn of each list; the filter finds the others. */
const ROWS_MAX = 200;
/** Names that are tried for one title. */
const NAMES_MAX = 50;

/** Saves a dashboard under a name that is still free. */
export async function saveNew(title: string, json: string): Promise<string> {
  const signal = new AbortController().signal;
  const id = idOf(title);
  for (let n = 1; ; n += 1) {
    const name = n === 1 ? id : `${id}-${n}`;
    try {
      await putKept("dashboards", name, json, "", signal);
      return name;
    } catch (error) {
      if (!isConflict(error) || n >= NAMES_MAX) throw error;
    }
  }
}

export function Shelf({ state }: { state: State }) {
  const [error, setError] = useState<Error | null>(null);
  const [filter, setFilter] = useState("");
  const [local, setLocal] = useState(keptBoards);
  const kept = useAsked("dashboards", (run) => listWithNotes("dashboards", run.signal), { repeat: true, interval_s: 15, quiet: true });
  const fail = (failure: unknown): void =>
    setError(failure instanceof Error ? failure : new Error(String(failure)));
  const take = (json: string): void => {
    try {
      const { title } = importGrafana(json);
      saveNew(title, json).then((id) => go(withParams(state, { board: `saved:${id}` })), fail);
    } catch (failure) {
      fail(failure);
    }
  };
  const matches = (title: string): boolean => title.toLowerCase().includes(filter.trim().toLowerCase());
  const found = (kept.data?.all ?? []).filter(({ title, folder, source, problem }) =>
    matches(`${folder} ${title} ${source} ${problem}`),
  );
  const saved = found.filter(({ provisioned }) => !provisioned);
  const given = found.filter(({ provisioned }) => provisioned);
  const mayChange = may("change");
  const builtIn = Object.keys(BUILT_IN).filter((name) => matches(t(`page.${name}` as Key)));
  return (
    <div class="shelf">
      <div class="toolbar">
        <h1>{t("page.dashboards")}</h1>
        <FilterBox label={t("boards.filter")} value={filter} onInput={setFilter} />
        {mayChange && (
          <button
            type="button"
            onClick={() =>
              saveNew(t("boards.new"), textOf(emptyBoard(t("boards.new")))).then(
                (id) => go(withParams(state, { board: `saved:${id}`, edit: "1" })),
                fail,
              )
            }
          >
            {t("boards.make")}
          </button>
        )}
      </div>
      <LookOnly />
      <Problem error={kept.error} />
      {kept.data?.notes.map((note) => (
        <p key={note} class="note bad" role="status">
          {note}
        </p>
      ))}
      <section class="card" aria-label={t("boards.saved")}>
        <h2>{t("boards.saved")}</h2>
        {kept.data !== null && saved.length === 0 && <p class="note">{t("boards.none")}</p>}
        <BoardList boards={saved} state={state} />
      </section>
      {given.length > 0 && (
        <section class="card" aria-label={t("boards.provisioned")}>
          <h2>{t("boards.provisioned")}</h2>
          <BoardList boards={given} state={state} />
        </section>
      )}
      <section class="card" aria-label={t("boards.built_in")}>
        <h2>{t("boards.built_in")}</h2>
        <ul>
          {builtIn.map((name) => (
            <li key={name}>
              <a href={link("dashboards", { board: name }, state)}>{t(`page.${name}` as Key)}</a>
            </li>
          ))}
        </ul>
      </section>
      {mayChange && Object.keys(local).length > 0 && (
        <section class="card" aria-label={t("boards.local")}>
          <h2>{t("boards.local")}</h2>
          <ul>
            {Object.entries(local).map(([name, json]) => (
              <li key={name}>
                {`${name} `}
                <button
                  type="button"
                  onClick={() =>
                    saveNew(name, json).then(() => {
                      forget(name);
                      setLocal(keptBoards());
                    }, fail)
                  }
                >
                  {t("boards.move")}
                </button>
              </li>
            ))}
          </ul>
        </section>
      )}
      {mayChange && <Import take={take} fail={fail} error={error} />}
    </div>
  );
}

/** The place to drop, choose or paste a dashboard. */
function Import({ take, fail, error }: { take: (json: string) => void; fail: (failure: unknown) => void; error: Error | null }) {
  const [text, setText] = useState("");
  const file = (list: FileList | null | undefined): void => {
    const first = list?.[0];
    if (first !== undefined) void first.text().then(take, fail);
  };
  return (
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
      <label class="file">
        {t("boards.file")}
        <input
          type="file"
          class="unseen"
          accept=".json,application/json"
          onChange={(event) => file(event.currentTarget.files)}
        />
      </label>
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
  );
}

function BoardList({ boards, state }: { boards: readonly Version[]; state: State }) {
  return (
    <>
      <ul>
        {boards.slice(0, ROWS_MAX).map(({ id, title, folder, source, saved_ms, by, problem }) => (
          <li key={id}>
            {problem !== "" ? (
              <span class="note bad">{[source || title, problem].filter(Boolean).join(": ")}</span>
            ) : (
              <a href={link("dashboards", { board: `saved:${id}` }, state)}>
                {folder !== "" && <span class="faint">{`${folder} / `}</span>}
                {title}
                <span class="faint">{` ${[formatAgo(Date.now() / 1000 - saved_ms / 1000), by].filter(Boolean).join(" · ")}`}</span>
              </a>
            )}
          </li>
        ))}
      </ul>
      {boards.length > ROWS_MAX && (
        <p class="note">{t("vector.first", { most: ROWS_MAX, n: boards.length })}</p>
      )}
    </>
  );
}
