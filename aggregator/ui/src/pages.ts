/** The pages in the order of the navigation. A new page is a new entry, a new name in `state.ts` and its words. */
import type { ComponentType } from "preact";
import type { Right } from "./access/session";
import { AlertsPage } from "./alerts/page";
import { classPage } from "./class_page";
import { ClusterPage } from "./cluster/page";
import { DashboardsPage } from "./dashboards/page";
import type { Key } from "./i18n";
import { KansokuPage } from "./kansoku/page";
import { LogsPage } from "./logs/page";
import { MetricsPage } from "./metrics/page";
import { Overview } from "./overview";
import { PodPage } from "./pod/page";
import { SlosPage } from "./slo/page";
import type { PageName, State } from "./state";

export interface PageEntry {
  name: PageName;
  title: Key;
  component: ComponentType<{ state: State }>;
  /** Shown in the navigation. */
  listed: boolean;
  /** What it shows needs this right. */
  right: Right;
  /** Pages that lie below this one. */
  under?: readonly PageName[];
}

export const PAGES: readonly [PageEntry, ...PageEntry[]] = [
  {
    name: "cluster",
    title: "page.cluster",
    component: ClusterPage,
    listed: true,
    right: "read",
    under: ["node"],
  },
  { name: "pod", title: "page.pod", component: PodPage, listed: true, right: "read" },
  { name: "node", title: "page.node", component: classPage(Overview), listed: false, right: "read_all" },
  { name: "logs", title: "page.logs", component: LogsPage, listed: true, right: "read" },
  { name: "metrics", title: "page.metrics", component: MetricsPage, listed: true, right: "read" },
  { name: "dashboards", title: "page.dashboards", component: DashboardsPage, listed: true, right: "read" },
  { name: "alerts", title: "page.alerts", component: AlertsPage, listed: true, right: "read_all" },
  { name: "slos", title: "page.slos", component: SlosPage, listed: true, right: "read" },
  { name: "kansoku", title: "page.kansoku", component: KansokuPage, listed: true, right: "read_all" },
];
