/**
 * Repeating a task while somebody looks: every few seconds, one at a time, never while the tab is
 * hidden, and at once when it is shown again. What the task does is the page's business.
 */

export class Live {
  #timer: number | undefined;
  #abort: AbortController | undefined;
  readonly #onVisible = (): void => {
    if (document.hidden) this.#pause();
    else if (this.#repeat) void this.#run();
  };
  #repeat = false;

  constructor(
    readonly task: (signal: AbortSignal) => Promise<void>,
    public interval_s: number,
  ) {
    document.addEventListener("visibilitychange", this.#onVisible);
  }

  /** Runs the task now, and again and again when `repeat`. */
  start(repeat: boolean): void {
    this.#repeat = repeat;
    void this.#run();
  }

  /** Stops for good. */
  stop(): void {
    this.#repeat = false;
    this.#pause();
    document.removeEventListener("visibilitychange", this.#onVisible);
  }

  #pause(): void {
    clearTimeout(this.#timer);
    this.#abort?.abort();
    this.#abort = undefined;
  }

  async #run(): Promise<void> {
    this.#pause();
    const abort = new AbortController();
    this.#abort = abort;
    try {
      await this.task(abort.signal);
    } catch (error) {
      // A mistake of ours in one round is reported and must not end the rounds after it.
      if (!abort.signal.aborted) reportError(error);
    }
    if (abort.signal.aborted || !this.#repeat || document.hidden) return;
    this.#timer = window.setTimeout(() => void this.#run(), this.interval_s * 1000);
  }
}
