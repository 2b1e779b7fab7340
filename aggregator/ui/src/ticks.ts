/** Where the ticks of a value axis lie. Pure. */
import type { Unit } from "./format";

/** What an axis shows. */
export interface AxisOptions {
  unit: Unit;
  shape: "lines" | "stacked" | "bars";
  /** Ticks lie on powers of two although the unit is a function. */
  binary?: boolean;
  /** Counts: ticks lie on whole numbers. */
  whole?: boolean;
}

/** Least distance of ticks in pixels. */
export const TICK_SPACE = 22;

const DECIMAL_INCREMENTS = Array.from({ length: 36 }, (_, at) =>
  [1, 2, 5].map((n) => n * 10 ** (at - 12)),
).flat();
const WHOLE_INCREMENTS = DECIMAL_INCREMENTS.filter((increment) => increment >= 1);
const BYTE_INCREMENTS = Array.from({ length: 62 }, (_, at) => 2 ** at);

/** Distances of ticks: bytes in powers of two, counts in whole numbers. */
export function incrementsOf({ unit, shape, binary = false, whole = shape === "bars" }: AxisOptions): number[] {
  if (binary || (typeof unit === "string" && unit.startsWith("bytes"))) return BYTE_INCREMENTS;
  return whole ? WHOLE_INCREMENTS : DECIMAL_INCREMENTS;
}

/** The top of an axis from zero on that is `height` pixels high: at least so high that a tick above zero fits on it. */
export function topWithTick(top: number, height: number, options: AxisOptions): number {
  const fits = (increment: number): boolean => (increment * height) / Math.max(top, increment) >= TICK_SPACE;
  return Math.max(top, incrementsOf(options).find(fits) ?? top);
}
