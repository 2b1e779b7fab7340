/**
 * The frame around every page: navigation, time window, language and colours, the message of a lost
 * connection, the footer and the help. It changes state by changing the address and nothing else.
 */
import type { ComponentType } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { SessionMenu } from "./access/menu";
import { Needs } from "./access/needs";
import { version } from "./api";
import { lostSince, onConnection } from "./connection";
import { formatBytes } from "./format";
import { Help } from "./help";
import { useChange } from "./hooks";
import { LANGUAGES, languageCode, setLanguage, t, type Key, type LanguageCode } from "./i18n";
import { focusSearch, listenForKeys } from "./keys";
import { lastMeter, onMeter } from "./meter";
import { PAGES } from "./pages";
import { Progress, scanned } from "./progress";
import { formatHash, go, pageState, parseHash, type PageName, type State } from "./state";
import { chosenTheme, onTheme, setTheme, THEMES, type Theme } from "./theme";
import { zoneName } from "./time";
import { WindowControls } from "./window_controls";

export function App() {
  const [state, setState] = useState(() => parseHash(location.hash));
  const [help, setHelp] = useState(false);
  const [language, chooseLanguage] = useState(languageCode());
  const main = useRef<HTMLElement>(null);
  const nav = useRef<HTMLElement>(null);
  useChange(onTheme);
  useEffect(() => {
    const onHash = (): void => setState(parseHash(location.hash));
    addEventListener("hashchange", onHash);
    return () => removeEventListener("hashchange", onHash);
  }, []);
  useEffect(
    () =>
      listenForKeys({
        page: (name) => go(movedTo(name, parseHash(location.hash))),
        search: focusSearch,
        help: () => setHelp(true),
        live: () => {
          const now = parseHash(location.hash);
          go({ ...now, end_s: null, live: !now.live });
        },
        zoomOut: () => {
          const now = parseHash(location.hash);
          go({ ...now, range_s: now.range_s * 2 });
        },
      }),
    [],
  );
  useEffect(() => {
    document.documentElement.lang = language;
  }, [language]);
  const entry = PAGES.find(({ name }) => name === state.page) ?? PAGES[0];
  useEffect(() => {
    document.title = `${t(entry.title)} · kansoku`;
  }, [entry, language]);
  useEffect(() => {
    const bar = nav.current;
    if (bar === null) return;
    bar.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
    const resized = new ResizeObserver(() => tellHidden(bar));
    resized.observe(bar);
    return () => resized.disconnect();
  }, [entry, language]);
  const Page: ComponentType<{ state: State }> = entry.component;
  const onLanguage = (code: LanguageCode): void => {
    setLanguage(code);
    chooseLanguage(code);
  };
  return (
    <>
      <a
        class="skip"
        href="#main"
        onClick={(event) => {
          // The fragment is the page's state, so the link to the content must not change it.
          event.preventDefault();
          main.current?.focus();
        }}
      >
        {t("frame.skip")}
      </a>
      <header id="bar">
        <a class="brand" href={formatHash(pageState("cluster"))}>
          kansoku
        </a>
        <nav aria-label={t("frame.pages")} ref={nav} onScroll={(event) => tellHidden(event.currentTarget)}>
          {PAGES.filter(({ listed }) => listed).map(({ name, title, under }) => (
            <a
              key={name}
              href={formatHash(movedTo(name, state))}
              aria-current={name === state.page ? "page" : under?.includes(state.page) ? "true" : undefined}
            >
              {t(title)}
            </a>
          ))}
        </nav>
        <WindowControls state={state} />
        <SessionMenu />
      </header>
      <Lost />
      <Progress />
      <main id="main" tabIndex={-1} ref={main}>
        <Needs key={`${state.page} ${language}`} right={entry.right}>
          <Page state={state} />
        </Needs>
      </main>
      <Foot language={language} onLanguage={onLanguage} onHelp={() => setHelp(true)} />
      {help && <Help onClose={() => setHelp(false)} />}
    </>
  );
}

/** Says on which sides more is to be scrolled to, which fades there. */
function tellHidden(nav: HTMLElement): void {
  const hidden = nav.scrollWidth - nav.clientWidth;
  nav.dataset["before"] = String(nav.scrollLeft > 1);
  nav.dataset["behind"] = String(nav.scrollLeft < hidden - 1);
}

/** A page at its defaults, over the window that was chosen before. */
function movedTo(name: PageName, { range_s, end_s, page }: State): State {
  const target = pageState(name);
  const chosen = end_s !== null || range_s !== pageState(page).range_s;
  return chosen ? { ...target, range_s, end_s, live: end_s === null && target.live } : target;
}

function Lost() {
  useChange(onConnection);
  if (lostSince() === null) return <div role="alert" class="lost" hidden />;
  return (
    <div role="alert" class="lost">
      {t("frame.lost", { host: location.host })}
    </div>
  );
}

function Foot({
  language,
  onLanguage,
  onHelp,
}: {
  language: LanguageCode;
  onLanguage: (code: LanguageCode) => void;
  onHelp: () => void;
}) {
  const [running, setRunning] = useState("");
  useChange(onMeter);
  useEffect(() => {
    const abort = new AbortController();
    version(abort.signal).then(setRunning, () => setRunning(""));
    return () => abort.abort();
  }, []);
  const meter = lastMeter();
  return (
    <footer id="foot">
      <span>
        {`kansoku-aggregator ${running} · `}
        <a href="licenses.md">{t("frame.licences")}</a>
        {" · "}
        <button type="button" class="plain" onClick={onHelp}>
          {t("frame.keys")} <kbd>?</kbd>
        </button>
      </span>
      <span class="statistics">
        {meter === null
          ? ""
          : [
              t("frame.queries", { n: meter.queries }),
              `${Math.round(meter.duration_ms)} ms`,
              t("frame.series", { n: meter.series }),
              formatBytes(meter.bytes),
              scanned(meter.samples, meter.scannedBytes),
            ]
              .filter(Boolean)
              .join(" · ")}
      </span>
      <span class="choices">
        <span title={t("frame.zone_help")}>{t("frame.zone", { zone: zoneName() })}</span>
        <select
          aria-label={t("frame.theme")}
          value={chosenTheme()}
          onChange={(event) => setTheme(event.currentTarget.value as Theme)}
        >
          {THEMES.map((name) => (
            <option key={name} value={name}>
              {t(`theme.${name}` as Key)}
            </option>
          ))}
        </select>
        <select
          aria-label={t("frame.language")}
          value={language}
          onChange={(event) => onLanguage(event.currentTarget.value as LanguageCode)}
        >
          {Object.entries(LANGUAGES).map(([code, name]) => (
            <option key={code} value={code} lang={code}>
              {name}
            </option>
          ))}
        </select>
      </span>
    </footer>
  );
}
