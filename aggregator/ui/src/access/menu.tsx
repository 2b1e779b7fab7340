/** Who is signed in, the tenant whose data is shown, and the way out. */
import { useChange } from "../hooks";
import { t } from "../i18n";
import { chooseTenant, onSession, signOut, tenant, whoAmI } from "./session";

export function SessionMenu() {
  useChange(onSession);
  const me = whoAmI();
  if (me === null || (!me.enabled && me.tenants === null)) return null;
  const scope = me.namespaces.length === 0 ? "" : ` · ${me.namespaces.join(", ")}`;
  return (
    <span class="session-menu">
      {me.tenants !== null && (
        <select
          aria-label={t("access.tenant")}
          value={tenant()}
          onChange={(event) => chooseTenant(event.currentTarget.value)}
        >
          {me.tenants.map((name) => (
            <option key={name} value={name}>
              {name}
            </option>
          ))}
        </select>
      )}
      {me.enabled && (
        <>
          <span title={t("access.role")}>{`${me.name} (${me.role}${scope})`}</span>
          <button type="button" class="plain" onClick={() => void signOut()}>
            {t("access.sign_out")}
          </button>
        </>
      )}
    </span>
  );
}
