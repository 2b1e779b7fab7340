/**
 * Samples to a Prometheus remote write endpoint: the protocol buffer `WriteRequest` (series of
 * labels and samples) in a Snappy block that holds literals only. Just enough to seed a store.
 */

/** More in one request is refused by stores that bound their requests. */
const SERIES_MAX = 500;

function varint(value) {
  const bytes = [];
  for (let rest = BigInt(value); ; rest >>= 7n) {
    if (rest < 128n) return Buffer.from([...bytes, Number(rest)]);
    bytes.push(Number(rest & 127n) | 128);
  }
}

/** A field of the wire type "bytes with a length". */
function field(number, bytes) {
  return Buffer.concat([varint((number << 3) | 2), varint(bytes.length), bytes]);
}

function sampleBytes([time_ms, value]) {
  const double = Buffer.alloc(8);
  double.writeDoubleLE(value);
  return Buffer.concat([Buffer.from([0x09]), double, Buffer.from([0x10]), varint(time_ms)]);
}

function seriesBytes({ labels, samples }) {
  const pairs = Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1));
  return Buffer.concat([
    ...pairs.map(([name, value]) =>
      field(1, Buffer.concat([field(1, Buffer.from(name)), field(2, Buffer.from(value))])),
    ),
    ...samples.map((sample) => field(2, sampleBytes(sample))),
  ]);
}

/** A Snappy block of literals: the length of the whole, then runs of at most 64 KiB. */
function snappy(bytes) {
  const parts = [varint(bytes.length)];
  for (let at = 0; at < bytes.length; at += 65536) {
    const run = bytes.subarray(at, at + 65536);
    parts.push(Buffer.from([61 << 2, (run.length - 1) & 255, (run.length - 1) >> 8]), run);
  }
  return Buffer.concat(parts);
}

/** Writes series (`{labels, samples: [[time_ms, value]]}`) to the aggregator at `base`. */
export async function remoteWrite(base, series) {
  for (let at = 0; at < series.length; at += SERIES_MAX) {
    const body = Buffer.concat(series.slice(at, at + SERIES_MAX).map((one) => field(1, seriesBytes(one))));
    const answer = await fetch(`${base}/api/v1/write`, {
      method: "POST",
      headers: {
        "content-type": "application/x-protobuf",
        "content-encoding": "snappy",
        "x-prometheus-remote-write-version": "0.1.0",
      },
      body: snappy(body),
    });
    if (!answer.ok) throw new Error(`remote write: ${answer.status} ${await answer.text()}`);
  }
}
