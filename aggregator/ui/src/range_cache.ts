/**
 * Range queries that are asked again and again: only the new tail is fetched. Holds the last
 * columns of each query and nothing else; forgets all when the window changes.
 */
import { queryRange, type Run } from "./api";
import { mergeTail, tailStart, toColumns, type Columns } from "./matrix";
import type { Grid } from "./time";

/** A page has some ten queries; twice that leaves room for a change of step. */
const ENTRIES_MAX = 32;

export class RangeCache {
  readonly #columns = new Map<string, Columns>();

  clear(): void {
    this.#columns.clear();
  }

  /** The columns of `query` on `grid`. */
  async fetch(query: string, grid: Grid, run: Run): Promise<Columns> {
    const old = this.#columns.get(query) ?? null;
    const start_s = tailStart(old, grid);
    const asked = start_s === null ? grid : { ...grid, start_s };
    const { data } = await queryRange(query, asked, run);
    const columns =
      old === null || start_s === null ? toColumns(grid, data) : mergeTail(old, data, start_s, grid);
    if (this.#columns.size >= ENTRIES_MAX) this.#columns.clear();
    this.#columns.set(query, columns);
    return columns;
  }
}
