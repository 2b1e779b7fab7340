/**
 * The page of dashboards: the shelf, one dashboard, and one that is being changed. What is changed lives in
 * `drafts.ts` until it is saved in the aggregator.
 */
import { useMemo } from "preact/hooks";
import { t } from "../i18n";
import { link, type State } from "../state";
import { useKept } from "../use_kept";
import { Nothing, Problem } from "../widgets";
import { Board } from "./board";
import { BUILT_IN } from "./builtin";
import { Shelf } from "./shelf";

const SAVED = "saved:";

export function DashboardsPage({ state }: { state: State }) {
  const name = state.params.board ?? "";
  if (name === "") return <Shelf state={state} />;
  if (name.startsWith(SAVED)) return <SavedBoard key={name} id={name.slice(SAVED.length)} state={state} />;
  const json = Object.hasOwn(BUILT_IN, name) ? BUILT_IN[name] : undefined;
  if (json === undefined) return <Unknown name={name} state={state} />;
  return <Board key={name} name={name} json={json} kept={null} state={state} />;
}

function Unknown({ name, state }: { name: string; state: State }) {
  return (
    <Nothing title={t("boards.unknown", { name })}>
      <a href={link("dashboards", {}, state)}>{t("boards.all")}</a>
    </Nothing>
  );
}

/** A dashboard of the aggregator's storage. */
function SavedBoard({ id, state }: { id: string; state: State }) {
  const version = state.params.version ?? "";
  const { kept, error, saved, reload } = useKept("dashboards", id, version);
  const json = useMemo(() => (kept === null ? "" : JSON.stringify(kept.document)), [kept]);
  if (error !== null && kept === null) {
    return (
      <Nothing title={t("boards.unknown", { name: id })}>
        <Problem error={error} />
        <a href={link("dashboards", {}, state)}>{t("boards.all")}</a>
      </Nothing>
    );
  }
  if (kept === null) return <p class="note">{t("frame.loading")}</p>;
  return (
    <Board
      key={`${id} ${kept.tag}`}
      name={`${SAVED}${id}`}
      json={json}
      kept={kept}
      state={state}
      reload={reload}
      saved={saved}
    />
  );
}
