/** The ways to sign in besides a password and a token: a button for each provider, and why the last try failed. */
import { useEffect, useState } from "preact/hooks";
import { t, type Key } from "../i18n";
import { loadWays, type Ways } from "./session";

/** A provider that is away is asked again after so long. */
const RETRY_MS = 10_000;

/** What the aggregator may say of a sign-in that failed; it has a message for each. */
const FAILURES = ["down", "stale", "refused", "not_allowed", "failed", "busy"] as const;

/** The message of a failed sign-in that the address tells of; empty when it tells of none. */
export function failureOf(search: string): Key | "" {
  const word = new URLSearchParams(search).get("sign_in");
  if (word === null) return "";
  return `access.failed_${FAILURES.find((known) => known === word) ?? "failed"}`;
}

/** Where a provider's sign-in begins; it ends at the place on the page that is shown now. */
export function wayTo(name: string, hash: string): string {
  const back = new URLSearchParams({ return: hash.replace(/^#/, "") });
  return `api/v1/access/oidc/${encodeURIComponent(name)}/login?${back}`;
}

/** The ways there are; null until that is known. */
export function useWays(): Ways | null {
  const [ways, setWays] = useState<Ways | null>(null);
  useEffect(() => {
    let timer: number | undefined;
    let gone = false;
    const ask = (): void => {
      const again = (): void => {
        if (!gone) timer = window.setTimeout(ask, RETRY_MS);
      };
      loadWays().then((found) => {
        if (gone) return;
        setWays(found);
        if (found.providers.some(({ ready }) => !ready)) again();
      }, again);
    };
    ask();
    return () => {
      gone = true;
      clearTimeout(timer);
    };
  }, []);
  return ways;
}

export function ProviderButtons({ ways }: { ways: Ways }) {
  if (ways.providers.length === 0) return null;
  return (
    <div class="providers">
      {ways.providers.map(({ name, label, ready }) => (
        <div key={name}>
          <button type="button" disabled={!ready} onClick={() => location.assign(wayTo(name, location.hash))}>
            {label}
          </button>
          {!ready && (
            <p class="note" role="status">
              {t("access.away", { name: label })}
            </p>
          )}
        </div>
      ))}
    </div>
  );
}
