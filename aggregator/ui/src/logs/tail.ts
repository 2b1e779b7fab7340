/**
 * Lines as they come: a web socket to `/loki/api/v1/tail` that is opened again when it breaks. What
 * comes is handed on a few times a second, so that a flood of lines does not stall the page.
 */
import type { Stream } from "../api";
import { tailUrl } from "../api";
import { entriesOf, type Entry } from "./entries";

export type TailStatus = "connecting" | "open" | "broken";

const FLUSH_MS = 250;
const AGAIN_MS = 2000;
/** Lines of one message that wait for the next flush; more are dropped, the oldest first. */
const WAITING_MAX = 20_000;
/** Lines that a tail begins with. */
const FIRST_LINES = 100;

export interface TailEvents {
  lines: (entries: Entry[]) => void;
  /** The server left out so many lines. */
  dropped: (count: number) => void;
  status: (status: TailStatus) => void;
}

export class Tail {
  #socket: WebSocket | null = null;
  #waiting: Entry[] = [];
  #again: number | undefined;
  readonly #flush: number;
  #closed = false;

  constructor(
    readonly query: string,
    readonly events: TailEvents,
  ) {
    this.#flush = window.setInterval(() => this.#handOn(), FLUSH_MS);
    this.#open();
  }

  /** Ends the tail for good. */
  close(): void {
    this.#closed = true;
    clearInterval(this.#flush);
    clearTimeout(this.#again);
    this.#socket?.close();
  }

  #open(): void {
    this.events.status("connecting");
    const socket = new WebSocket(tailUrl(this.query, FIRST_LINES));
    this.#socket = socket;
    socket.onopen = () => this.events.status("open");
    socket.onmessage = ({ data }) => this.#take(String(data));
    socket.onclose = () => {
      if (this.#closed) return;
      this.events.status("broken");
      this.#again = window.setTimeout(() => this.#open(), AGAIN_MS);
    };
  }

  #take(text: string): void {
    let message: { streams?: Stream[] | null; dropped_entries?: unknown[] | null };
    try {
      message = JSON.parse(text);
    } catch {
      return;
    }
    const entries = entriesOf(message.streams ?? [], WAITING_MAX);
    this.#waiting.push(...entries);
    const over = this.#waiting.length - WAITING_MAX;
    if (over > 0) this.#waiting.splice(0, over);
    const dropped = (message.dropped_entries?.length ?? 0) + Math.max(0, over);
    if (dropped > 0) this.events.dropped(dropped);
  }

  #handOn(): void {
    if (this.#waiting.length === 0) return;
    const entries = this.#waiting;
    this.#waiting = [];
    this.events.lines(entries);
  }
}
