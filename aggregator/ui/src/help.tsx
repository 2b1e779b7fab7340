/** The keys of the page, in a dialog. */
import { useEffect, useRef } from "preact/hooks";
import { t } from "./i18n";
import { PAGE_KEYS } from "./keys";
import { PAGES } from "./pages";

export function Help({ onClose }: { onClose: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  const pages = PAGES.flatMap(({ name, title }): [string, string][] => {
    const key = PAGE_KEYS[name];
    return key === undefined ? [] : [[`g ${key}`, t(title)]];
  });
  const keys: [string, string][] = [
    ["/", t("help.search")],
    ["?", t("help.help")],
    ["r", t("help.live")],
    ["-", t("help.out")],
    ["Esc", t("help.escape")],
    ["← →", t("help.arrows")],
    ...pages,
  ];
  return (
    <dialog ref={dialog} class="help" aria-labelledby="help-title" onClose={onClose}>
      <h2 id="help-title">{t("frame.keys")}</h2>
      <dl>
        {keys.map(([key, text]) => (
          <div key={key}>
            <dt>
              {key.split(" ").map((part) => (
                <kbd key={part}>{part}</kbd>
              ))}
            </dt>
            <dd>{text}</dd>
          </div>
        ))}
      </dl>
      <button type="button" onClick={() => dialog.current?.close()}>
        {t("help.close")}
      </button>
    </dialog>
  );
}
