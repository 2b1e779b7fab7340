/**
 * The page's words in the reader's language, and its numbers and dates. A message is looked up by
 * its key; `{name}` in it is replaced; a message with several forms is chosen by `n`.
 */
import { EN } from "./locales/en";
import { JA } from "./locales/ja";
import { unitsOf } from "./time";

/** Forms by plural category, as `Intl.PluralRules` names them. */
export type Forms = Readonly<Partial<Record<Intl.LDMLPluralRule, string>> & { other: string }>;
export type Message = string | Forms;
export type Key = keyof typeof EN;

export const LANGUAGES = { en: "English", ja: "日本語" } as const;
export type LanguageCode = keyof typeof LANGUAGES;
const MESSAGES: Readonly<Record<LanguageCode, Readonly<Record<Key, Message>>>> = { en: EN, ja: JA };

const STORED = "kansoku.language";

function isLanguage(text: string | null | undefined): text is LanguageCode {
  return text === "en" || text === "ja";
}

/** The chosen language, else the first of the browser's that the page has. */
export function preferred(stored: string | null, browser: readonly string[]): LanguageCode {
  if (isLanguage(stored)) return stored;
  return browser.map((tag) => tag.slice(0, 2)).find(isLanguage) ?? "en";
}

function stored(): string | null {
  try {
    return localStorage.getItem(STORED);
  } catch {
    return null;
  }
}

let language: LanguageCode =
  typeof navigator === "undefined" ? "en" : preferred(stored(), navigator.languages);
let plural = new Intl.PluralRules(language);

export function languageCode(): LanguageCode {
  return language;
}

/** Switches the language; the caller draws the page anew. */
export function setLanguage(code: LanguageCode): void {
  language = code;
  plural = new Intl.PluralRules(code);
  try {
    localStorage.setItem(STORED, code);
  } catch {
    // The choice lasts as long as the page.
  }
}

/** The message of a key, filled in. */
export function t(key: Key, values: Readonly<Record<string, string | number>> = {}): string {
  const message = MESSAGES[language][key];
  const n = values["n"];
  const form =
    typeof message === "string" ? message : (message[plural.select(Number(n ?? 0))] ?? message.other);
  return form.replace(/\{(\w+)\}/g, (hole, name: string) => {
    const value = values[name];
    if (value === undefined) return hole;
    return typeof value === "number" ? formatCount(value) : value;
  });
}

/** A whole number with the language's separators. */
export function formatCount(value: number): string {
  return new Intl.NumberFormat(language).format(value);
}

/** A duration for people: `1h30m`, `1時間30分`. */
export function formatSpan(seconds: number): string {
  return words(unitsOf(seconds), "");
}

/** Seconds as the two largest units, for an uptime: `12d 4h`. */
export function formatAge(seconds: number): string {
  return words(unitsOf(seconds).slice(0, 2), " ");
}

function words(parts: ReturnType<typeof unitsOf>, between: string): string {
  return parts.map(({ unit, count }) => t(`unit.${unit}`, { count: String(count) })).join(between);
}

/** `12 minutes ago`, in words. */
export function formatAgo(seconds: number): string {
  const format = new Intl.RelativeTimeFormat(language, { numeric: "always", style: "short" });
  if (seconds < 90) return format.format(-Math.round(seconds), "second");
  if (seconds < 5400) return format.format(-Math.round(seconds / 60), "minute");
  if (seconds < 129_600) return format.format(-Math.round(seconds / 3600), "hour");
  return format.format(-Math.round(seconds / 86_400), "day");
}

/** Local date and time to the second, as the language writes them. */
export function formatDate(time_s: number): string {
  return new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "medium" }).format(
    time_s * 1000,
  );
}
