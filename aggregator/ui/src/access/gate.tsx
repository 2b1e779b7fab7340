/** Stands before the page: asks who is there, and shows the form to sign in where that is needed. */
import { type ComponentChildren, Fragment } from "preact";
import { useEffect, useState } from "preact/hooks";
import { useChange } from "../hooks";
import { t } from "../i18n";
import { load, onSession, signIn, tenant, whoAmI } from "./session";
import { failureOf, ProviderButtons, useWays } from "./ways";

const RETRY_MS = 3000;

export function Gate({ children }: { children: () => ComponentChildren }) {
  useChange(onSession);
  const [lost, setLost] = useState(false);
  useEffect(() => {
    let timer: number | undefined;
    const ask = (): void => {
      load().then(
        () => setLost(false),
        () => {
          setLost(true);
          timer = window.setTimeout(ask, RETRY_MS);
        },
      );
    };
    ask();
    return () => clearTimeout(timer);
  }, []);
  const me = whoAmI();
  if (me === null) {
    return lost ? (
      <div role="alert" class="lost">
        {t("frame.lost", { host: location.host })}
      </div>
    ) : null;
  }
  if (me.enabled && !me.signedIn) return <SignIn />;
  // Another person or another tenant is another page: nothing that was asked before may stay.
  return <Fragment key={`${me.name} ${tenant()}`}>{children()}</Fragment>;
}

function SignIn() {
  const [error, setError] = useState(() => {
    const failure = failureOf(location.search);
    return failure === "" ? "" : t(failure);
  });
  const [busy, setBusy] = useState(false);
  const [chosen, choose] = useState<boolean | null>(null);
  const ways = useWays();
  // Without passwords there are tokens still.
  const byToken = chosen ?? ways?.passwords === false;
  useEffect(() => {
    // Told once: who reloads the page has not failed again.
    if (location.search !== "") history.replaceState(null, "", location.pathname + location.hash);
  }, []);
  const onSubmit = (event: SubmitEvent): void => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    const fields: Record<string, string> = {};
    for (const [name, value] of form) if (typeof value === "string") fields[name] = value.trim();
    setBusy(true);
    signIn(fields)
      .catch(() => t("frame.lost", { host: location.host }))
      .then((problem) => {
        setError(problem);
        setBusy(false);
      });
  };
  return (
    <main class="sign-in">
      <h1>kansoku</h1>
      {ways !== null && <ProviderButtons ways={ways} />}
      <form onSubmit={onSubmit}>
        {byToken ? (
          <label>
            {t("access.token")}
            <input name="token" type="password" autocomplete="off" required key="token" />
          </label>
        ) : (
          <>
            <label>
              {t("access.user")}
              <input name="user" autocomplete="username" required key="user" />
            </label>
            <label>
              {t("access.password")}
              <input name="password" type="password" autocomplete="current-password" required key="password" />
            </label>
          </>
        )}
        <p role="alert" class="problem-line">
          {error}
        </p>
        <button type="submit" class="run" disabled={busy}>
          {t("access.sign_in")}
        </button>
        {ways?.passwords !== false && (
          <button type="button" class="plain" onClick={() => choose(!byToken)}>
            {t(byToken ? "access.by_password" : "access.by_token")}
          </button>
        )}
      </form>
    </main>
  );
}
