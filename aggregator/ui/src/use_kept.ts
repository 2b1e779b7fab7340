/** The newest of one document that people keep in the aggregator. */
import { useState } from "preact/hooks";
import { getKept, type DocumentKind, type Kept } from "./documents";
import { useAsked } from "./hooks";

/**
 * Loads a document. `saved` takes what this page has just saved, which is shown from then on: the document
 * from before the save would be on the page until it is loaded again, and stay when that fails.
 */
export function useKept(
  kind: DocumentKind,
  id: string,
  version: string,
): { kept: Kept | null; error: Error | null; saved: (kept: Kept) => void; reload: () => void } {
  const [times, setTimes] = useState(0);
  const [own, setOwn] = useState<Kept | null>(null);
  const { data, error } = useAsked(
    JSON.stringify([kind, id, version, times]),
    (run) => getKept(kind, id, version, run.signal),
    { quiet: true },
  );
  const isNewer = version === "" && own !== null && data !== null && own.version > data.version;
  const reload = (): void => {
    setOwn(null);
    setTimes((n) => n + 1);
  };
  return { kept: isNewer ? own : data, error, saved: setOwn, reload };
}
