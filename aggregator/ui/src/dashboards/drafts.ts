/** Changes that are not saved yet, by dashboard: they outlive a look at another page, not the tab. */
import type { Draft } from "./edit";

/** More unsaved dashboards than somebody can have in mind; the oldest goes. */
const DRAFTS_MAX = 20;
/** Steps that can be taken back. */
const STEPS_MAX = 50;

interface Changes {
  /** The version that they were made from. */
  tag: string;
  /** The newest is the last. */
  steps: Draft[];
}

const drafts = new Map<string, Changes>();

/** The draft of a dashboard, if there is one. */
export function draftFor(name: string): { draft: Draft; tag: string; canUndo: boolean } | null {
  const changes = drafts.get(name);
  const draft = changes?.steps.at(-1);
  if (changes === undefined || draft === undefined) return null;
  return { draft, tag: changes.tag, canUndo: changes.steps.length > 1 };
}

export function setDraft(name: string, draft: Draft, tag: string): void {
  const before = drafts.get(name);
  const steps = [...(before?.steps ?? []), draft].slice(-STEPS_MAX);
  drafts.delete(name);
  drafts.set(name, { tag: before?.tag ?? tag, steps });
  for (const oldest of drafts.keys()) {
    if (drafts.size <= DRAFTS_MAX) break;
    drafts.delete(oldest);
  }
}

/** Takes the last step back. */
export function undo(name: string): void {
  const changes = drafts.get(name);
  if (changes !== undefined && changes.steps.length > 1) changes.steps.pop();
}

export function dropDraft(name: string): void {
  drafts.delete(name);
}

if (typeof addEventListener === "function")
  addEventListener("beforeunload", (event) => {
    const isDirty = [...drafts.values()].some(({ steps }) => steps.length > 1);
    if (isDirty) event.preventDefault();
  });
