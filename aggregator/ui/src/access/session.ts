/**
 * Who looks at the page: what `api/v1/access/me` says, signing in and out, and the chosen tenant. The
 * session itself is a cookie that no script reads; nothing secret is kept here.
 */

import type { Key } from "../i18n";

/** What somebody may do. */
export type Right = "ingest" | "read" | "read_all" | "change" | "admin";

export interface Me {
  /** Whether anybody has to sign in at all. */
  enabled: boolean;
  signedIn: boolean;
  name: string;
  role: string;
  rights: readonly Right[];
  namespaces: readonly string[];
  /** The tenants to choose from; null where there are none. */
  tenants: readonly string[] | null;
}

const NOBODY: Me = {
  enabled: true,
  signedIn: false,
  name: "",
  role: "",
  rights: [],
  namespaces: [],
  tenants: null,
};

/** The cookie with the chosen tenant: a web socket has no headers. */
const TENANT_COOKIE = "kansoku_tenant";
/** What tells the aggregator that a request comes from this page and not from another site's form. */
const PAGE_HEADERS = { "x-requested-with": "kansoku" };

let me: Me | null = null;
const listeners = new Set<() => void>();

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === "string");
}

/** Reads the answer; an aggregator of another age that knows no access control lets everybody in. */
export function readMe(json: unknown): Me {
  const data = (json as { data?: Record<string, unknown> } | null)?.data ?? {};
  const text = (key: string): string => (typeof data[key] === "string" ? (data[key] as string) : "");
  return {
    enabled: data["enabled"] === true,
    signedIn: data["signedIn"] !== false,
    name: text("name"),
    role: text("role"),
    rights: isTexts(data["rights"]) ? (data["rights"] as Right[]) : [],
    namespaces: isTexts(data["namespaces"]) ? data["namespaces"] : [],
    tenants: isTexts(data["tenants"]) ? data["tenants"] : null,
  };
}

/** Who looks at the page; null until that is known. */
export function whoAmI(): Me | null {
  return me;
}

/** Whether what needs a right is shown. */
export function may(right: Right): boolean {
  return me === null || !me.enabled || me.rights.includes(right);
}

/** Why somebody may not do what needs a right, with what belongs into the message; null when they may. Pure. */
export function refusal(
  who: Me | null,
  right: Right,
): { key: Key; holes: Record<string, string> } | null {
  if (who === null || !who.enabled || who.rights.includes(right)) return null;
  // The role would do; it is the restriction that does not.
  const isRestricted = who.namespaces.length > 0 && right === "read_all";
  return isRestricted
    ? { key: "access.other_namespaces", holes: { namespaces: who.namespaces.join(", ") } }
    : { key: "access.other_role", holes: { role: who.role } };
}

/** A provider at which one can sign in. */
export interface Provider {
  name: string;
  label: string;
  /** Whether it answers. */
  ready: boolean;
}

export interface Ways {
  providers: readonly Provider[];
  /** Whether there are users with passwords. */
  passwords: boolean;
}

/** Reads the answer; an aggregator of another age knows no providers. */
export function readWays(json: unknown): Ways {
  const data = (json as { data?: Record<string, unknown> } | null)?.data ?? {};
  const list = Array.isArray(data["providers"]) ? (data["providers"] as Record<string, unknown>[]) : [];
  const providers = list.flatMap((one): Provider[] =>
    typeof one?.["name"] === "string" && typeof one["label"] === "string"
      ? [{ name: one["name"], label: one["label"], ready: one["ready"] === true }]
      : [],
  );
  return { providers, passwords: data["passwords"] !== false };
}

/** Asks in which ways one can sign in. */
export async function loadWays(): Promise<Ways> {
  const response = await request("oidc");
  return readWays(response.ok ? await response.json() : {});
}

/** Where a provider's own session ends, if the answer to a sign-out names a place on the web. */
export function exitOf(json: unknown): string {
  const place = (json as { data?: { redirect?: unknown } } | null)?.data?.redirect;
  return typeof place === "string" && /^https?:\/\//.test(place) ? place : "";
}

/** Calls back when somebody signs in or out or chooses a tenant. Returns how to stop that. */
export function onSession(change: () => void): () => void {
  listeners.add(change);
  return () => listeners.delete(change);
}

function become(next: Me): void {
  me = next;
  const [first] = next.tenants ?? [];
  if (first !== undefined && !next.tenants?.includes(tenant())) setCookie(first);
  for (const listener of [...listeners]) listener();
}

function request(path: string, init: RequestInit = {}): Promise<Response> {
  const url = new URL(`api/v1/access/${path}`, document.baseURI);
  url.hash = "";
  return fetch(url, { cache: "no-store", ...init, headers: { ...PAGE_HEADERS, ...init.headers } });
}

/** Asks the aggregator who looks at the page. */
export async function load(): Promise<void> {
  const response = await request("me");
  become(readMe(response.ok ? await response.json() : {}));
}

/** Signs in; the error is the aggregator's own words. */
export async function signIn(fields: Readonly<Record<string, string>>): Promise<string> {
  const response = await request("login", { method: "POST", body: new URLSearchParams(fields) });
  const json = (await response.json().catch(() => null)) as { error?: string } | null;
  if (!response.ok) return json?.error ?? `status ${response.status}`;
  become(readMe(json));
  return "";
}

export async function signOut(): Promise<void> {
  const response = await request("logout", { method: "POST" });
  const exit = exitOf(await response.json().catch(() => null));
  become(NOBODY);
  if (exit !== "") location.assign(exit);
}

/** A request was answered with 401: the session is over. */
export function expired(): void {
  if (me?.signedIn) become(NOBODY);
}

/** The chosen tenant; empty where there are none. */
export function tenant(): string {
  const pairs = document.cookie.split(";").map((pair) => pair.trim().split("="));
  return pairs.find(([name]) => name === TENANT_COOKIE)?.[1] ?? "";
}

function setCookie(name: string): void {
  document.cookie = `${TENANT_COOKIE}=${name}; path=/; samesite=strict`;
}

/** Shows another tenant's data from now on. */
export function chooseTenant(name: string): void {
  setCookie(name);
  for (const listener of [...listeners]) listener();
}

/** What every request of the page carries. */
export function headers(): Record<string, string> {
  const chosen = me?.tenants == null ? "" : tenant();
  return chosen === "" ? PAGE_HEADERS : { ...PAGE_HEADERS, "x-scope-orgid": chosen };
}
