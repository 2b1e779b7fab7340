/** Service level objectives: all of them with what is left of their budgets, one in full, and its form. */
import { useRef, useState } from "preact/hooks";
import { LookOnly } from "../access/needs";
import { may } from "../access/session";
import { Chart, type Line } from "../chart";
import { deleteKept, getKept, idOf, isConflict, listKept, putKept, type Kept } from "../documents";
import { download } from "../download";
import { formatPlain } from "../format";
import { useAsked } from "../hooks";
import { t } from "../i18n";
import { Modal } from "../modal";
import { go, link, queryLink, withParams, zoomed, type State } from "../state";
import { chooseStep, gridOf, type Window } from "../time";
import { useKept } from "../use_kept";
import { Card, Mount, Nothing, Problem } from "../widgets";
import { SloForm } from "./form";
import { loadPast, loadRatios, ratioOver, standingOf, type Past, type Standing } from "./load";
import { BURNS, budgetOf, EMPTY, factorOf, over, rangeOf, ruleFiles, sloOf, wrongWith, type Slo } from "./model";

/** Objectives whose numbers are asked for in the list. */
const SHOWN_MAX = 100;
const REFRESH_S = 60;
const HEIGHT = 170;
/** Names that are tried for one title. */
const NAMES_MAX = 50;
const DAY_S = 86_400;
/** How old the newest point of a chart may be. */
const FRESH_S = 60;

export function SlosPage({ state }: { state: State }) {
  const id = state.params.slo ?? "";
  if (id === "" && state.params.edit === "1" && may("change")) {
    return <Form key="new" kept={null} state={state} reload={() => {}} saved={() => {}} />;
  }
  if (id === "") return <All state={state} />;
  return <One key={id} id={id} state={state} />;
}

const nowOf = (state: Window): number => state.end_s ?? Math.floor(Date.now() / 1000);

export function percent(part: number | null, digits = 3): string {
  return part === null ? "–" : `${formatPlain(Number((part * 100).toPrecision(digits)))}%`;
}

function All({ state }: { state: State }) {
  const { data, error } = useAsked(
    "slos",
    async (run) => {
      const all = await listKept("slos", run.signal);
      const shown = all.filter(({ problem }) => problem === "").slice(0, SHOWN_MAX);
      const kept = await Promise.all(shown.map(({ id }) => getKept("slos", id, "", run.signal)));
      return { kept, n: all.length };
    },
    { repeat: state.live, interval_s: REFRESH_S, quiet: true },
  );
  return (
    <div class="slos">
      <div class="toolbar">
        <h1>{t("page.slos")}</h1>
        {may("change") && (
          <button type="button" onClick={() => go(withParams(state, { edit: "1" }))}>
            {t("slo.make")}
          </button>
        )}
      </div>
      <LookOnly />
      <Problem error={error} />
      {data !== null && data.kept.length === 0 && (
        <Nothing title={t("slo.none")}>
          <p>{t("slo.none_help")}</p>
        </Nothing>
      )}
      {data !== null && data.kept.length > 0 && (
        <table class="slo-list">
          <thead>
            <tr>
              <th scope="col">{t("slo.objective")}</th>
              <th scope="col" class="number">
                {t("slo.target")}
              </th>
              <th scope="col" class="number">
                {t("slo.measured")}
              </th>
              <th scope="col">{t("slo.left")}</th>
            </tr>
          </thead>
          <tbody>
            {data.kept.map((kept) => (
              <Row key={kept.tag} kept={kept} state={state} />
            ))}
          </tbody>
        </table>
      )}
      {data !== null && data.n > data.kept.length && (
        <p class="note">{t("vector.first", { most: data.kept.length, n: data.n })}</p>
      )}
    </div>
  );
}

function Row({ kept, state }: { kept: Kept; state: State }) {
  const slo = sloOf(kept.document);
  const { data, error } = useAsked(
    JSON.stringify([kept.tag, state.end_s]),
    async (run) => ({ ratio: await ratioOver(slo, `${slo.window_days}d`, nowOf(state), run) }),
    { repeat: state.live, interval_s: REFRESH_S },
  );
  const left = data === null || data.ratio === null ? null : 1 - data.ratio / budgetOf(slo);
  return (
    <tr>
      <td>
        <a href={link("slos", { slo: kept.id }, state)}>{slo.title}</a>
        {error !== null && <span class="note bad">{` ${error.message}`}</span>}
      </td>
      <td class="number">{t("slo.target_of", { target: `${slo.target}%`, days: slo.window_days })}</td>
      <td class="number">{percent(data === null || data.ratio === null ? null : 1 - data.ratio, 5)}</td>
      <td>
        <Budget left={left} />
      </td>
    </tr>
  );
}

/** What is left of a budget, as a bar with its number. */
function Budget({ left }: { left: number | null }) {
  const share = Math.min(1, Math.max(0, left ?? 0));
  const kind = left === null ? "" : left <= 0 ? " gone" : left < 0.25 ? " low" : "";
  return (
    <span class={`budget${kind}`}>
      <span class="track" aria-hidden="true">
        <span class="length" style={{ width: `${100 * share}%` }} />
      </span>
      <span>{percent(left)}</span>
    </span>
  );
}

function One({ id, state }: { id: string; state: State }) {
  const { kept, error, saved, reload } = useKept("slos", id, "");
  if (error !== null && kept === null) {
    return (
      <Nothing title={t("slo.unknown", { name: id })}>
        <Problem error={error} />
        <a href={link("slos", {}, state)}>{t("slo.all")}</a>
      </Nothing>
    );
  }
  if (kept === null) return <p class="note">{t("frame.loading")}</p>;
  if (state.params.edit === "1" && may("change")) {
    return <Form key={kept.tag} kept={kept} state={state} reload={reload} saved={saved} />;
  }
  return <Shown key={kept.tag} kept={kept} state={state} />;
}

function Form({
  kept,
  state,
  reload,
  saved,
}: {
  kept: Kept | null;
  state: State;
  reload: () => void;
  saved: (kept: Kept) => void;
}) {
  const [error, setError] = useState<Error | null>(null);
  const [busy, setBusy] = useState(false);
  const save = async (slo: Slo): Promise<void> => {
    setBusy(true);
    setError(null);
    const signal = new AbortController().signal;
    const json = JSON.stringify(slo, null, 2);
    try {
      if (kept === null) {
        const id = await saveNew(slo.title, json, signal);
        go(withParams(state, { slo: id, edit: "" }));
      } else {
        saved(await putKept("slos", kept.id, json, kept.tag, signal));
        go(withParams(state, { edit: "" }));
      }
    } catch (failure) {
      setError(failure instanceof Error ? failure : new Error(String(failure)));
    }
    setBusy(false);
  };
  return (
    <>
      <SloForm
        slo={kept === null ? EMPTY : sloOf(kept.document)}
        title={kept === null ? t("slo.make") : t("slo.change", { name: kept.title })}
        busy={busy}
        save={(slo) => void save(slo)}
        cancel={() => go(withParams(state, { edit: "" }))}
      />
      <Problem error={error} />
      {isConflict(error) && kept !== null && (
        <button type="button" onClick={reload}>
          {t("edit.load_theirs")}
        </button>
      )}
    </>
  );
}

async function saveNew(title: string, json: string, signal: AbortSignal): Promise<string> {
  const id = idOf(title);
  for (let n = 1; ; n += 1) {
    const name = n === 1 ? id : `${id}-${n}`;
    try {
      await putKept("slos", name, json, "", signal);
      return name;
    } catch (error) {
      if (!isConflict(error) || n >= NAMES_MAX) throw error;
    }
  }
}

function Shown({ kept, state }: { kept: Kept; state: State }) {
  const slo = sloOf(kept.document);
  const wrong = wrongWith(slo);
  const factors = BURNS.map((burn) => factorOf(burn, slo.window_days));
  const { data, error } = useAsked(
    JSON.stringify(["now", kept.tag, state.end_s]),
    async (run) => standingOf(slo, await loadRatios(slo, nowOf(state), run), factors),
    { repeat: state.live, interval_s: REFRESH_S },
  );
  const budget_s = slo.window_days * DAY_S;
  const past = useAsked(
    JSON.stringify(["past", kept.tag, state.end_s]),
    (run) => {
      const step_s = chooseStep(budget_s, 900);
      // The last step ends now: what is left agrees with the number above.
      const grid = gridOf({ range_s: budget_s, end_s: state.end_s }, step_s, Date.now() / 1000, FRESH_S);
      return loadPast(slo, grid, rangeOf(step_s), run);
    },
    { repeat: state.live, interval_s: REFRESH_S },
  );
  const recent = useAsked(
    JSON.stringify(["recent", kept.tag, state.range_s, state.end_s]),
    (run) => {
      const step_s = chooseStep(state.range_s, 900, 60);
      return loadPast(slo, gridOf(state, step_s, Date.now() / 1000, FRESH_S), rangeOf(step_s), run);
    },
    { repeat: state.live, interval_s: REFRESH_S },
  );
  const burnNow = data?.burns.get("1h") ?? null;
  return (
    <div class="slos">
      <div class="toolbar">
        <h1>{slo.title}</h1>
        <a href={link("slos", {}, state)}>{t("slo.all")}</a>
        <span class="export">
          {may("change") && (
            <>
              <button type="button" onClick={() => go(withParams(state, { edit: "1" }))}>
                {t("edit.begin")}
              </button>
              <Delete kept={kept} state={state} />
            </>
          )}
        </span>
      </div>
      {slo.description !== "" && <p class="note">{slo.description}</p>}
      {wrong.map((key) => (
        <p key={key} class="note bad">
          {t(key)}
        </p>
      ))}
      <Problem error={error ?? past.error ?? recent.error} />
      <div class="slo-facts">
        <Fact name={t("slo.target")} value={t("slo.target_of", { target: `${slo.target}%`, days: slo.window_days })} />
        <Fact
          name={t("slo.measured")}
          value={percent(measured(data, slo), 5)}
          href={queryLink(slo.language, over(slo.events, "1h"), state)}
        />
        <Fact name={t("slo.left")} value={percent(data?.left ?? null)} bad={(data?.left ?? 1) <= 0} />
        <Fact
          name={t("slo.burn_now")}
          value={burnNow === null ? "–" : `${formatPlain(Number(burnNow.toPrecision(3)))}×`}
          bad={(data?.firing.length ?? 0) > 0}
        />
      </div>
      {data !== null && data.left === null && data.ratios.size > 0 && <p class="note">{t("slo.no_events")}</p>}
      <div class="cards two">
        <Card title={t("slo.left_over", { days: slo.window_days })}>
          <Drawn past={past.data} of="left" label={t("slo.left")} state={state} floor={0} />
        </Card>
        <Card title={t("slo.errors")}>
          <Drawn past={recent.data} of="ratio" label={t("slo.errors")} state={state} bound={budgetOf(slo)} />
        </Card>
      </div>
      <Card title={t("slo.burns")}>
        <Burns slo={slo} standing={data} factors={factors} />
        <p class="note">{t("slo.burns_help")}</p>
      </Card>
      <Rules id={kept.id} slo={slo} state={state} />
    </div>
  );
}

function measured(standing: Standing | null, slo: Slo): number | null {
  const ratio = standing?.ratios.get(`${slo.window_days}d`) ?? null;
  return ratio === null ? null : 1 - ratio;
}

function Fact({ name, value, bad = false, href }: { name: string; value: string; bad?: boolean; href?: string }) {
  return (
    <div class={bad ? "card fact bad" : "card fact"}>
      <span class="faint">{name}</span>
      <strong>{href === undefined ? value : <a href={href}>{value}</a>}</strong>
    </div>
  );
}

function Drawn({
  past,
  of,
  label,
  state,
  bound,
  floor,
}: {
  past: Past | null;
  of: "ratio" | "left";
  label: string;
  state: State;
  /** A line at the rate that just keeps the promise. */
  bound?: number;
  floor?: number;
}) {
  const newest = useRef(state);
  newest.current = state;
  if (past === null) return <p class="note">{t("frame.loading")}</p>;
  if (past[of].every((point) => point === null)) return <p class="note">{t("slo.no_events")}</p>;
  const lines: Line[] = [{ name: label, labels: {}, points: past[of], color: 0 }];
  const flat = (value: number, name: string): Line => ({
    name,
    labels: {},
    points: past.times.map(() => value),
    color: 3,
    token: "--bad",
    dashed: true,
  });
  if (bound !== undefined) lines.push(flat(bound, t("slo.bound")));
  if (floor !== undefined) lines.push(flat(floor, t("slo.used_up")));
  return (
    <Mount
      make={() =>
        new Chart({
          label,
          unit: (value) => percent(value),
          height: HEIGHT,
          shape: "lines",
          legend: "inline",
          onZoom: (start_s, end_s) => go(zoomed(newest.current, start_s, end_s)),
        })
      }
      update={(chart) => chart.show(past.grid, past.times, lines)}
    />
  );
}

function Burns({ slo, standing, factors }: { slo: Slo; standing: Standing | null; factors: readonly number[] }) {
  const burn = (window: string): string => {
    const value = standing?.burns.get(window) ?? null;
    return value === null ? "–" : `${formatPlain(Number(value.toPrecision(3)))}×`;
  };
  return (
    <div class="table-panel" tabIndex={0} role="region" aria-label={t("slo.burns")}>
      <table>
        <thead>
          <tr>
            <th scope="col">{t("slo.alert")}</th>
            <th scope="col">{t("slo.windows")}</th>
            <th scope="col" class="number">
              {t("slo.budget_in", { days: slo.window_days })}
            </th>
            <th scope="col" class="number">
              {t("slo.bound_at")}
            </th>
            <th scope="col" class="number">
              {t("slo.long")}
            </th>
            <th scope="col" class="number">
              {t("slo.short")}
            </th>
            <th scope="col">{t("slo.state")}</th>
          </tr>
        </thead>
        <tbody>
          {BURNS.map((one, at) => {
            const fires = standing?.firing.includes(at) === true;
            return (
              <tr key={one.long}>
                <td>{t(`slo.${one.severity}`)}</td>
                <td>{`${one.long} / ${one.short}`}</td>
                <td class="number">{percent(one.budget)}</td>
                <td class="number">{`${formatPlain(factors[at] ?? 0)}×`}</td>
                <td class="number">{burn(one.long)}</td>
                <td class="number">{burn(one.short)}</td>
                <td class={fires ? "bad" : ""}>{standing === null ? "–" : t(fires ? "slo.fires" : "slo.fine")}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

/** The rules as YAML, to be copied or downloaded. */
function Rules({ id, slo, state }: { id: string; slo: Slo; state: State }) {
  const [copied, setCopied] = useState("");
  return (
    <>
      {ruleFiles(id, slo).map(({ name, language, yaml }) => (
        <Card key={name} title={t("slo.rules", { language: language === "promql" ? "PromQL" : "LogQL" })}>
          {slo.evaluate ? (
            <p class="note">
              {t("slo.evaluated_help")} <a href={link("alerts", {}, state)}>{t("page.alerts")}</a>
            </p>
          ) : (
            <p class="note">{t(language === "promql" ? "slo.rules_help" : "slo.log_rules_help")}</p>
          )}
          <p>
            <button type="button" onClick={() => download(name, yaml, "application/yaml")}>
              {t("slo.download", { name })}
            </button>{" "}
            <button
              type="button"
              onClick={() => void navigator.clipboard.writeText(yaml).then(() => setCopied(name))}
            >
              {copied === name ? t("copied") : t("copy")}
            </button>
          </p>
          <pre class="yaml" tabIndex={0} aria-label={name}>
            {yaml}
          </pre>
        </Card>
      ))}
    </>
  );
}

function Delete({ kept, state }: { kept: Kept; state: State }) {
  const [asking, setAsking] = useState(false);
  const [error, setError] = useState<Error | null>(null);
  return (
    <>
      <button type="button" onClick={() => setAsking(true)}>
        {t("boards.forget")}
      </button>
      {asking && (
        <Modal
          title={t("edit.delete_title", { title: kept.title })}
          close={() => setAsking(false)}
          action={t("boards.forget")}
          act={() =>
            void deleteKept("slos", kept.id, kept.tag, new AbortController().signal).then(
              () => go(withParams(state, { slo: "" })),
              (failure: unknown) => setError(failure instanceof Error ? failure : new Error(String(failure))),
            )
          }
        >
          <p>{t("edit.delete_text")}</p>
          <Problem error={error} />
        </Modal>
      )}
    </>
  );
}
