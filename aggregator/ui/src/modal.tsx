/** A dialog that asks one thing; Escape closes it. */
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { t } from "./i18n";

export function Modal({
  title,
  close,
  children,
  action,
  act,
}: {
  title: string;
  close: () => void;
  children?: ComponentChildren;
  /** The button that does it. */
  action: string;
  act: () => void;
}) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog ref={dialog} class="modal" aria-label={title} onClose={close}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          act();
        }}
      >
        <h2>{title}</h2>
        {children}
        <p class="buttons">
          <button type="button" onClick={() => dialog.current?.close()}>
            {t("edit.cancel")}
          </button>
          <button type="submit" class="run">
            {action}
          </button>
        </p>
      </form>
    </dialog>
  );
}
