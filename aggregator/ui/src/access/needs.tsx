/** What stands in place of what somebody may not see or do, and why. */
import type { ComponentChildren } from "preact";
import { t } from "../i18n";
import { Nothing } from "../widgets";
import { may, refusal, whoAmI, type Right } from "./session";

/** A page that needs a right, or the reason why it is not shown. */
export function Needs({ right, children }: { right: Right; children: ComponentChildren }) {
  const why = refusal(whoAmI(), right);
  if (why === null) return <>{children}</>;
  return (
    <Nothing title={t("access.not_here")}>
      <p>{t(why.key, why.holes)}</p>
    </Nothing>
  );
}

/** Says that what is shown cannot be changed by whom it is shown to. */
export function LookOnly() {
  if (may("change")) return null;
  return <p class="note look-only">{t("access.look_only", { role: whoAmI()?.role ?? "" })}</p>;
}
