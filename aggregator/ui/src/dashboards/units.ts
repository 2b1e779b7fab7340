/** Grafana's units as text. Pure. A unit that is not known stands behind the plain number. */
import { formatBytes, formatPlain, formatValue } from "../format";

const SUFFIXES: Readonly<Record<string, string>> = {
  percent: "%",
  hertz: " Hz",
  rotrpm: " rpm",
  celsius: " °C",
  fahrenheit: " °F",
  watt: " W",
  volt: " V",
  amp: " A",
  joule: " J",
  ops: " ops/s",
  reqps: " req/s",
  rps: " r/s",
  wps: " w/s",
  iops: " io/s",
  cps: " c/s",
  pps: " p/s",
  mps: " m/s",
  eps: " ev/s",
  opm: " ops/min",
  reqpm: " req/min",
};

/** Seconds in one of these. */
const TIMES: Readonly<Record<string, number>> = {
  s: 1,
  ms: 1e-3,
  µs: 1e-6,
  us: 1e-6,
  ns: 1e-9,
  m: 60,
  min: 60,
  h: 3600,
  d: 86_400,
  dtdurations: 1,
  dtdurationms: 1e-3,
  clocks: 1,
};

/** Bytes in one of these; the letters are Grafana's. */
const BYTES: Readonly<Record<string, number>> = {
  bytes: 1,
  decbytes: 1,
  kbytes: 1024,
  mbytes: 1024 ** 2,
  gbytes: 1024 ** 3,
  deckbytes: 1000,
  decmbytes: 1e6,
  decgbytes: 1e9,
};

const BYTE_RATES: Readonly<Record<string, number>> = {
  Bps: 1,
  binBps: 1,
  KBs: 1000,
  MBs: 1e6,
  GBs: 1e9,
  KiBs: 1024,
  MiBs: 1024 ** 2,
};
const BIT_RATES: Readonly<Record<string, number>> = {
  bps: 1,
  binbps: 1,
  Kbits: 1000,
  Mbits: 1e6,
  Gbits: 1e9,
};

/** Whether values of a unit are written in powers of 1024. */
export function isBinary(unit: string): boolean {
  return BYTES[unit] !== undefined || BYTE_RATES[unit] !== undefined;
}

/** A value in a unit, with so many digits behind the point when the panel says how many. */
export function formatUnit(value: number, unit: string, decimals: number | null): string {
  if (!Number.isFinite(value)) return formatPlain(value);
  const plain = (number: number): string =>
    decimals === null ? formatPlain(number) : number.toFixed(Math.min(10, Math.max(0, decimals)));
  if (unit === "percentunit")
    return `${decimals === null ? formatPlain(round(value * 100)) : (value * 100).toFixed(decimals)}%`;
  if (BYTES[unit] !== undefined) return formatBytes(value * BYTES[unit]);
  if (BYTE_RATES[unit] !== undefined) return `${formatBytes(value * BYTE_RATES[unit])}/s`;
  if (BIT_RATES[unit] !== undefined) return `${formatPlain(value * BIT_RATES[unit])}b/s`;
  if (TIMES[unit] !== undefined) return formatValue(value * TIMES[unit], "seconds");
  if (unit.startsWith("dateTime")) return new Date(value).toLocaleString();
  if (unit.startsWith("bool")) return value === 0 ? "no" : "yes";
  if (["", "none", "short", "locale", "sci", "string"].includes(unit)) return plain(value);
  if (unit.startsWith("suffix:")) return `${plain(value)} ${unit.slice(7)}`;
  if (unit.startsWith("prefix:")) return `${unit.slice(7)} ${plain(value)}`;
  return `${plain(unit === "percent" ? round(value) : value)}${SUFFIXES[unit] ?? ` ${unit}`}`;
}

const round = (value: number): number => Number(value.toPrecision(3));
