/**
 * Fills an aggregator with the made-up cluster of `synthetic.mjs`: an hour of it, and more every ten
 * seconds with FOLLOW=1. `KANSOKU_URL=http://127.0.0.1:9428 node seed.mjs`.
 */
import { fileURLToPath } from "node:url";
import { remoteWrite } from "./remote_write.mjs";
import { syntheticSeries, syntheticStreams } from "./synthetic.mjs";

const PAST_S = 3600;
const STEP_S = 30;
const FOLLOW_S = 10;

/** Lines to Loki's push endpoint of the aggregator at `base`. */
export async function push(base, streams) {
  const answer = await fetch(`${base}/loki/api/v1/push`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ streams }),
  });
  if (answer.status !== 204) throw new Error(`push: ${answer.status} ${await answer.text()}`);
}

/** Writes what happened in (start_s, end_s]. */
export async function seed(base, start_s, end_s, step_s = STEP_S) {
  await remoteWrite(base, syntheticSeries(start_s, end_s, step_s, end_s));
  await push(base, syntheticStreams(start_s, end_s, end_s));
}

/** Writes the last hour. */
export async function seedPast(base) {
  const now_s = Math.floor(Date.now() / 1000);
  await seed(base, now_s - PAST_S, now_s);
  return now_s;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const base = process.env.KANSOKU_URL;
  let until_s = await seedPast(base);
  console.log("seeded");
  while (process.env.FOLLOW === "1") {
    await new Promise((resolve) => setTimeout(resolve, FOLLOW_S * 1000));
    const now_s = Math.floor(Date.now() / 1000);
    await seed(base, until_s, now_s, FOLLOW_S);
    until_s = now_s;
  }
}
