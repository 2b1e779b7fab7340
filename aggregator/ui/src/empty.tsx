/** What a page says while there is nothing to show: why, and the command that changes it. */
import { render } from "preact";
import { useState } from "preact/hooks";
import { t } from "./i18n";

/** The command that starts an agent sending to the aggregator that serves this page. */
export function agentCommand(host: string, port: string): string {
  return [
    "kansoku-agent -i node_exporter_metrics -i container_metrics",
    "-i tail -p 'path=/var/log/*.log'",
    `-o kansoku -m '*' -p host=${host} -p port=${port}`,
  ].join(" \\\n  ");
}

/** A box instead of a page without data; `problem` is why the aggregator could not be asked. */
export function Empty({ problem = null }: { problem?: Error | null }) {
  const [copied, setCopied] = useState(false);
  if (problem !== null) {
    return (
      <section class="empty" role="alert">
        <h1>{t("empty.unasked")}</h1>
        <p>{problem.message}</p>
        <p>{t("empty.again")}</p>
      </section>
    );
  }
  const secure = location.protocol === "https:";
  const port = location.port || (secure ? "443" : "80");
  const command = agentCommand(location.hostname, port) + (secure ? " -p tls=on" : "");
  return (
    <section class="empty" role="status">
      <h1>{t("empty.title")}</h1>
      <p>{t("empty.start")}</p>
      <pre tabIndex={0}>
        <code>{command}</code>
      </pre>
      <button
        type="button"
        onClick={() =>
          void navigator.clipboard?.writeText(command).then(
            () => setCopied(true),
            () => setCopied(false),
          )
        }
      >
        {copied ? t("copied") : t("copy")}
      </button>
      <p>
        {t("empty.cluster")} <code>kubectl apply -f daemonset.yaml</code>
      </p>
      <p>{t("empty.appear")}</p>
    </section>
  );
}

/** The same for pages that draw themselves; `undefined` takes it away. */
export function renderEmpty(place: HTMLElement, problem: Error | null | undefined): void {
  if (problem === undefined) return render(null, place);
  place.replaceChildren();
  render(<Empty problem={problem} />, place);
}
