// A progress bar for slow requests, with a button that cancels them.
import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { useI18n } from '../i18n';
import { useStore } from '../state/store';
import { waits } from '../state/waiting';

const SHOWN_AFTER_MS = 400;

export function Progress(): JSX.Element | null {
  const { text } = useI18n();
  const running = useStore(waits);
  const since = running.length > 0 ? Math.min(...running.map((wait) => wait.since)) : undefined;
  const [shown, setShown] = useState(false);
  useEffect(() => {
    setShown(false);
    if (since === undefined) return undefined;
    const timer = setTimeout(() => setShown(true), since + SHOWN_AFTER_MS - performance.now());
    return () => clearTimeout(timer);
  }, [since]);
  if (!shown || since === undefined) return null;
  return (
    <div class="progress">
      <div class="progress-bar" role="progressbar" aria-label={text.state.loading} />
      <p class="progress-note">
        {text.state.loading}
        <button
          type="button"
          class="button small"
          onClick={() => {
            for (const wait of running) wait.cancel();
          }}
        >
          {text.state.cancel}
        </button>
      </p>
    </div>
  );
}
