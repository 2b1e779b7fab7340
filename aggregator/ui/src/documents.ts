/**
 * What people keep in the aggregator: dashboards and SLOs, as JSON with versions. A save says which
 * version it was made from; the aggregator refuses it (`conflict`) when there is a newer one.
 */
import { ApiError, ask } from "./api";

export type DocumentKind = "dashboards" | "slos";

/** One version, without its text. */
export interface Version {
  id: string;
  title: string;
  version: number;
  /** What names this version in a save. */
  tag: string;
  saved_ms: number;
  by: string;
  bytes: number;
  /** It comes from a file or a ConfigMap that somebody else keeps, and is read only. */
  provisioned: boolean;
  /** Where somebody else keeps it. */
  source: string;
  folder: string;
  /** Why it cannot be shown. */
  problem: string;
}

export interface Kept extends Version {
  document: unknown;
}

const text = (value: unknown): string => (typeof value === "string" ? value : "");
const number = (value: unknown): number => (typeof value === "number" ? value : 0);

function versionOf(value: unknown): Version {
  const of = (typeof value === "object" && value !== null ? value : {}) as Record<string, unknown>;
  return {
    id: text(of["id"]),
    title: text(of["title"]),
    version: number(of["version"]),
    tag: text(of["tag"]),
    saved_ms: number(of["saved_ms"]),
    by: text(of["by"]),
    bytes: number(of["bytes"]),
    provisioned: of["provisioned"] === true,
    source: text(of["source"]),
    folder: text(of["folder"]),
    problem: text(of["problem"]),
  };
}

const pathOf = (kind: DocumentKind, id: string): string => `api/v1/${kind}/${encodeURIComponent(id)}`;
const JSON_BODY = { "content-type": "application/json" };

/** All documents of a kind, and what the aggregator says of the list, such as that a part of it is old. */
export async function listWithNotes(
  kind: DocumentKind,
  signal: AbortSignal,
): Promise<{ all: Version[]; notes: string[] }> {
  const { data, notes } = await ask(`api/v1/${kind}`, [], signal);
  return { all: Array.isArray(data) ? data.map(versionOf) : [], notes };
}

/** All documents of a kind. */
export async function listKept(kind: DocumentKind, signal: AbortSignal): Promise<Version[]> {
  return (await listWithNotes(kind, signal)).all;
}

/** A document in its newest version, or in an older one. */
export async function getKept(
  kind: DocumentKind,
  id: string,
  version: string,
  signal: AbortSignal,
): Promise<Kept> {
  const { data } = await ask(pathOf(kind, id), version === "" ? [] : [["version", version]], signal);
  const document = (data as { document?: unknown } | null)?.document;
  if (document === undefined) throw new ApiError("the answer holds no document", "internal");
  return { ...versionOf(data), document };
}

/** The versions that are kept, newest first. */
export async function versionsOf(kind: DocumentKind, id: string, signal: AbortSignal): Promise<Version[]> {
  const { data } = await ask(`${pathOf(kind, id)}/versions`, [], signal);
  return Array.isArray(data) ? data.map(versionOf).reverse() : [];
}

/** Saves over the version `tag`, or as a new document when it is empty; and tells what is kept from then on. */
export async function putKept(
  kind: DocumentKind,
  id: string,
  document: string,
  tag: string,
  signal: AbortSignal,
): Promise<Kept> {
  const condition: Record<string, string> = tag === "" ? { "if-none-match": "*" } : { "if-match": tag };
  const change = { method: "PUT", body: document } as const;
  const { data } = await ask(pathOf(kind, id), [], signal, { ...JSON_BODY, ...condition }, change);
  return { ...versionOf(data), document: JSON.parse(document) as unknown };
}

/** Deletes a document with its past, if it still is at the version `tag`. */
export async function deleteKept(
  kind: DocumentKind,
  id: string,
  tag: string,
  signal: AbortSignal,
): Promise<void> {
  await ask(pathOf(kind, id), [], signal, { "if-match": tag }, { method: "DELETE" });
}

/** An id for a title: letters, digits and dashes of ASCII; a title without any gets a random one. */
export function idOf(title: string): string {
  const plain = title
    .normalize("NFKD")
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-+|-+$/g, "")
    .slice(0, 60)
    .replace(/-+$/, "");
  if (plain !== "") return plain;
  return `d${[...crypto.getRandomValues(new Uint8Array(6))].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

/** Whether a save failed because somebody else saved, deleted or made the same meanwhile. */
export function isConflict(error: unknown): boolean {
  return error instanceof ApiError && error.kind === "conflict";
}
