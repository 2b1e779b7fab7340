/** From instant results to ranked bars. Pure. */
import type { Sample } from "./api";
import type { Bar } from "./bar_list";
import { formatValue, selector, type Labels } from "./format";
import { t } from "./i18n";
import { parseValue } from "./matrix";
import type { Ranking } from "./panels";
import { FILL } from "./panels";
import { queryLink } from "./state";
import type { Window } from "./time";

/** A file system fuller than this is shown as a warning. */
const FILL_HIGH = 0.85;

/** Runtimes shorten the 64 digits of an id to 12, and so do we. */
const CONTAINER_ID = /[0-9a-f]{64}/;

function containerName(labels: Labels): { prefix: string; name: string } {
  const { namespace, pod, container, name, id } = labels;
  if (pod) return { prefix: namespace ?? "", name: container ? `${pod} / ${container}` : pod };
  if (container || (name && !CONTAINER_ID.test(name))) return { prefix: "", name: container || name || "" };
  const path = (id ?? "").split("/").filter((part) => part !== "");
  const last = (path.at(-1) ?? "/").replace(CONTAINER_ID, (text) => text.slice(0, 12));
  return { prefix: path.slice(0, -1).join(" / "), name: last };
}

/** Containers, largest first. */
export function rankingBars(
  ranking: Ranking,
  samples: readonly Sample[],
  window: string,
  shown: Window,
): Bar[] {
  const sorted = samples
    .map(({ metric, value }) => ({ metric, value: parseValue(value[1]) }))
    .filter(({ value }) => Number.isFinite(value) && value > 0)
    .sort((a, b) => b.value - a.value);
  const most = sorted[0]?.value ?? 0;
  return sorted.map(({ metric, value }) => ({
    ...containerName(metric),
    text: formatValue(value, ranking.unit),
    share: most > 0 ? value / most : 0,
    high: false,
    href: queryLink("promql", ranking.detail(selector(metric), window), shown),
  }));
}

/** File systems, fullest first; a device that is mounted at several places is listed once. */
export function fileSystemBars(available: readonly Sample[], sizes: readonly Sample[], shown: Window): Bar[] {
  const place = ({ device, mountpoint }: Labels): string => `${device ?? ""} ${mountpoint ?? ""}`;
  const sizeOf = new Map(sizes.map(({ metric, value }) => [place(metric), parseValue(value[1])]));
  const shortest = new Map<string, Sample>();
  for (const sample of available) {
    const device = sample.metric["device"] ?? "";
    const before = shortest.get(device)?.metric["mountpoint"];
    const mountpoint = sample.metric["mountpoint"] ?? "";
    if (before === undefined || mountpoint.length < before.length) shortest.set(device, sample);
  }
  return [...shortest.values()]
    .flatMap((sample): Bar[] => {
      const size = sizeOf.get(place(sample.metric)) ?? 0;
      if (!(size > 0)) return [];
      const free = parseValue(sample.value[1]);
      const share = 1 - free / size;
      const { device = "", mountpoint = "" } = sample.metric;
      return [
        {
          name: mountpoint,
          prefix: "",
          text: `${formatValue(share, "fraction")} · ${t("node.free", { part: formatValue(free, "bytes") })}`,
          share,
          high: share > FILL_HIGH,
          href: queryLink("promql", FILL.detail(selector({ device, mountpoint })), shown),
        },
      ];
    })
    .sort((a, b) => b.share - a.share);
}
