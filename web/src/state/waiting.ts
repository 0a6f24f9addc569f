// The requests that the user waits for, so that one button cancels them all. Closing its connection makes the
// server stop the SQL of a request.
import { store } from './store';

export interface Wait {
  since: number;
  cancel: () => void;
}

export const waits = store<readonly Wait[]>([]);

/** Registers a request until the returned function is called. */
export function startWait(cancel: () => void): () => void {
  const wait = { since: performance.now(), cancel };
  waits.set([...waits.get(), wait]);
  return () => waits.set(waits.get().filter((one) => one !== wait));
}
