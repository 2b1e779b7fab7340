/** What fires, and all rules with how they went: from `/api/v1/rules`, their past from `ALERTS`. */
import { useState } from "preact/hooks";
import { askPrometheus, queryRange } from "../api";
import { formatValue, type Labels } from "../format";
import { useAsked } from "../hooks";
import { formatAgo, formatDate, formatSpan, t, type Key } from "../i18n";
import { go, link, queryLink, withParams, type State } from "../state";
import { gridOf } from "../time";
import { FilterBox, Nothing, Problem, Segmented } from "../widgets";
import {
  ALERT_STATES,
  filtered,
  groupsOf,
  stretchesOf,
  type Alert,
  type Group,
  type Rule,
  type Stretch,
} from "./rules";

const REFRESH_S = 10;
/** How old the newest point of a past may be: what fires at this moment is in it. */
const FRESH_S = 5;
/** Points of an alert's past. */
const POINTS = 120;

const BADGES = { firing: "bad", pending: "warn", inactive: "ok" } as const;

export function AlertsPage({ state }: { state: State }) {
  const [filter, setFilter] = useState(state.params.filter ?? "");
  const wanted = ALERT_STATES.find((known) => known === state.params.state) ?? "";
  const { data, error } = useAsked(
    "rules",
    async (run) => groupsOf(await askPrometheus("api/v1/rules", run)),
    {
      repeat: state.live,
      interval_s: REFRESH_S,
    },
  );
  const past = useAsked(
    JSON.stringify(["past", state.range_s, state.end_s]),
    async (run) => {
      const step_s = Math.max(15, Math.ceil(state.range_s / POINTS));
      const grid = gridOf(state, step_s, Date.now() / 1000, FRESH_S);
      const { data: series } = await queryRange("max by (alertname, alertstate) (ALERTS)", grid, run);
      return stretchesOf(series, grid.start_s, grid.end_s, step_s);
    },
    { repeat: state.live, interval_s: REFRESH_S, quiet: true },
  );
  if (error !== null && data === null) return <Problem error={error} />;
  if (data === null) return <p class="note">{t("frame.loading")}</p>;
  const rules = data.flatMap((group) => group.rules);
  if (rules.length === 0) {
    return (
      <Nothing title={t("alerts.none")}>
        <p>{t("alerts.none_help")}</p>
      </Nothing>
    );
  }
  const alerting = rules.filter(({ kind }) => kind === "alerting");
  // What fires and what is about to is counted by alert, what rests by rule: it has none.
  const counts = ALERT_STATES.map((one) =>
    one === "inactive"
      ? alerting.filter(({ state: now }) => now === one).length
      : alerting.flatMap(({ alerts }) => alerts).filter(({ state: now }) => now === one).length,
  );
  const shown = filtered(data, filter, wanted);
  const active = shown
    .flatMap((group) => group.rules.flatMap((rule) => rule.alerts.map((alert) => ({ rule, alert }))))
    .filter(({ alert }) => alert.state !== "inactive")
    .sort(
      (a, b) =>
        ALERT_STATES.indexOf(a.alert.state) - ALERT_STATES.indexOf(b.alert.state) ||
        (b.alert.active_s ?? 0) - (a.alert.active_s ?? 0),
    );
  return (
    <div class="alerts">
      <h1 class="unseen">{t("page.alerts")}</h1>
      <Problem error={error} />
      <div class="toolbar">
        <Segmented
          label={t("alerts.state")}
          values={["", ...ALERT_STATES]}
          texts={[
            `${t("alerts.every")} ${rules.length}`,
            ...ALERT_STATES.map((one, at) => `${t(`alerts.${one}` as Key)} ${counts[at]}`),
          ]}
          chosen={wanted}
          choose={(chosen) => go(withParams(state, { state: chosen }))}
        />
        <FilterBox
          label={t("alerts.filter")}
          value={filter}
          onInput={(text) => {
            setFilter(text);
            history.replaceState(null, "", link("alerts", { ...state.params, filter: text }, state));
          }}
        />
      </div>
      {active.length > 0 && <Active active={active} state={state} />}
      {shown.length === 0 && (
        <p class="note">{filter === "" ? t("alerts.no_such") : t("cluster.no_match", { filter })}</p>
      )}
      {shown.map((group) => (
        <GroupCard
          key={`${group.file} ${group.name}`}
          group={group}
          past={past.data ?? new Map()}
          state={state}
        />
      ))}
    </div>
  );
}

function LabelChips({ labels }: { labels: Labels }) {
  const pairs = Object.entries(labels).filter(([name]) => name !== "alertname");
  return (
    <ul class="chips">
      {pairs.map(([name, value]) => (
        <li key={name} class="chip">
          <bdi>{`${name}=${value}`}</bdi>
        </li>
      ))}
    </ul>
  );
}

function Active({ active, state }: { active: readonly { rule: Rule; alert: Alert }[]; state: State }) {
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={t("alerts.active")}>
      <table class="alert-table">
        <thead>
          <tr>
            {["alerts.state", "alerts.alert", "alerts.since", "legend.value", "logs.stream"].map((key) => (
              <th key={key} scope="col">
                {t(key as Key)}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {active.slice(0, 500).map(({ rule, alert }, at) => (
            <tr key={at}>
              <td>
                <span class={`badge ${BADGES[alert.state]}`}>{t(`alerts.${alert.state}` as Key)}</span>
              </td>
              <th scope="row">
                <a href={queryLink("promql", rule.query, state)}>{rule.name}</a>
                <p class="note">
                  <bdi>
                    {alert.annotations["summary"] ??
                      alert.annotations["description"] ??
                      alert.annotations["message"] ??
                      ""}
                  </bdi>
                </p>
              </th>
              <td title={alert.active_s === null ? "" : formatDate(alert.active_s)}>
                {alert.active_s === null ? "–" : formatAgo(Date.now() / 1000 - alert.active_s)}
              </td>
              <td class="number">{alert.value === "" ? "–" : formatValue(Number(alert.value), "plain")}</td>
              <td>
                <LabelChips labels={alert.labels} />
                {alert.labels["pod"] !== undefined && alert.labels["namespace"] !== undefined && (
                  <a
                    class="go"
                    href={link("pod", { ns: alert.labels["namespace"], pod: alert.labels["pod"] }, state)}
                  >
                    {t("page.pod")}
                  </a>
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function GroupCard({
  group,
  past,
  state,
}: {
  group: Group;
  past: ReadonlyMap<string, Stretch[]>;
  state: State;
}) {
  const failing = group.rules.filter(({ health }) => health === "err").length;
  return (
    <section class="card" aria-label={group.name}>
      <h2>
        {group.name} <span class="prefix">{group.file}</span>
        {group.interval_s !== null && (
          <span class="prefix">
            {" "}
            · {t("alerts.every_interval", { interval: formatSpan(group.interval_s) })}
          </span>
        )}
        {failing > 0 && <span class="badge bad">{t("alerts.failing", { n: failing })}</span>}
      </h2>
      <ul class="rules">
        {group.rules.map((rule, at) => (
          <RuleItem
            key={`${rule.name} ${at}`}
            rule={rule}
            past={rule.kind === "alerting" ? (past.get(rule.name) ?? []) : null}
            state={state}
          />
        ))}
      </ul>
    </section>
  );
}

function RuleItem({ rule, past, state }: { rule: Rule; past: readonly Stretch[] | null; state: State }) {
  return (
    <li>
      <details>
        <summary>
          {rule.kind === "alerting" ? (
            <span class={`badge ${BADGES[rule.state]}`}>{t(`alerts.${rule.state}` as Key)}</span>
          ) : (
            <span class="badge gone">{t("alerts.recording")}</span>
          )}
          <span class="rule-name">{rule.name}</span>
          {rule.health === "err" && <span class="badge bad">{t("alerts.failed")}</span>}
          {past !== null && <Past stretches={past} />}
        </summary>
        <div class="rule">
          {rule.error !== "" && <p class="note bad">{rule.error}</p>}
          <p>
            <a href={queryLink("promql", rule.query, state)}>
              <code>{rule.query}</code>
            </a>
          </p>
          <p class="note">
            {[
              rule.for_s > 0 ? t("alerts.for", { time: formatSpan(rule.for_s) }) : "",
              rule.evaluated_s === null
                ? t("alerts.never")
                : t("alerts.evaluated", { ago: formatAgo(Date.now() / 1000 - rule.evaluated_s) }),
              rule.took_s === null ? "" : formatValue(rule.took_s, "seconds"),
            ]
              .filter(Boolean)
              .join(" · ")}
          </p>
          <LabelChips labels={rule.labels} />
          {Object.entries(rule.annotations).map(([name, text]) => (
            <p key={name} class="note">
              {`${name}: `}
              <bdi>{text}</bdi>
            </p>
          ))}
        </div>
      </details>
    </li>
  );
}

/** The window from left to right, filled where the alert was pending or firing. */
function Past({ stretches }: { stretches: readonly Stretch[] }) {
  const firing = stretches.filter(({ state }) => state === "firing").length;
  return (
    <svg
      class="past"
      viewBox="0 0 100 8"
      preserveAspectRatio="none"
      role="img"
      aria-label={t("alerts.past", { n: firing })}
    >
      <rect width="100" height="8" class="none" />
      {stretches.map(({ from, to, state }, at) => (
        <rect key={at} x={from * 100} width={Math.max(0.6, (to - from) * 100)} height="8" class={state} />
      ))}
    </svg>
  );
}
