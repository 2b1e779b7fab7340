/** Which configuration agents run, as `kansoku_agent_config_info` tells: samples hold when each was seen last. */
import type { Sample } from "../api";

/** What runs since last: after a reload the one before is known for some minutes yet. Pure. */
export function newestConfig(samples: readonly Sample[]): { sha256: string; file: string } | null {
  const newest = samples.reduce<Sample | null>(
    (best, one) => (best === null || Number(one.value[1]) > Number(best.value[1]) ? one : best),
    null,
  );
  return newest === null ? null : { sha256: newest.metric["sha256"] ?? "", file: newest.metric["file"] ?? "" };
}

/** The configuration that most nodes' agents have; null where there is no majority. Pure. */
export function usualConfig(samples: readonly Sample[]): string | null {
  const nodes = new Map<string, Sample[]>();
  for (const one of samples) {
    const node = one.metric["node"] ?? "";
    nodes.set(node, [...(nodes.get(node) ?? []), one]);
  }
  const counts = new Map<string, number>();
  for (const of of nodes.values()) {
    const sha256 = newestConfig(of)?.sha256 ?? "";
    counts.set(sha256, (counts.get(sha256) ?? 0) + 1);
  }
  const [most] = [...counts].sort(([, a], [, b]) => b - a);
  return most !== undefined && most[1] * 2 > nodes.size ? most[0] : null;
}
