/** What the start page says while there is nothing to show: why, and the command that changes it. */
import { h } from "./dom";

/** The command that starts an agent sending to the aggregator that serves this page. */
export function agentCommand(host: string, port: string): string {
  return [
    "kansoku-agent -i node_exporter_metrics -i container_metrics",
    "-i tail -p 'path=/var/log/*.log'",
    `-o kansoku -m '*' -p host=${host} -p port=${port}`,
  ].join(" \\\n  ");
}

/** A box instead of the panels; `problem` is why the aggregator could not be asked. */
export function emptyState(problem: string | null): HTMLElement {
  if (problem !== null) {
    return h(
      "section",
      { class: "empty", attributes: { role: "alert" } },
      h("h1", {}, "The aggregator cannot be asked"),
      h("p", {}, problem),
      h("p", {}, "This page tries again every few seconds."),
    );
  }
  const secure = location.protocol === "https:";
  const port = location.port || (secure ? "443" : "80");
  const command = agentCommand(location.hostname, port) + (secure ? " -p tls=on" : "");
  const copy = h("button", { attributes: { type: "button" } }, "Copy");
  copy.addEventListener("click", () => {
    const done = (text: string) => (): void => void (copy.textContent = text);
    void navigator.clipboard?.writeText(command).then(done("Copied"), done("Select the text"));
  });
  return h(
    "section",
    { class: "empty", attributes: { role: "status" } },
    h("h1", {}, "No data yet"),
    h("p", {}, "The aggregator runs and waits. Start an agent on the machine you want to see:"),
    h("pre", {}, h("code", {}, command)),
    copy,
    h("p", {}, "In a Kubernetes cluster: ", h("code", {}, "kubectl apply -f daemonset.yaml")),
    h("p", {}, "The charts appear here by themselves, within seconds of the first data."),
  );
}
