// The header of a view: title, time range, and whether it is live.
import type { ComponentChildren, JSX } from 'preact';
import { useI18n } from '../i18n';
import { streamState, updatedAt, useNow } from '../state/live';
import { setPrefs, usePrefs } from '../state/prefs';
import { outage, type Outage } from '../state/outage';
import { useStore } from '../state/store';
import { useShortcuts } from '../state/shortcuts';
import { Icon } from './icon';
import { SavedViews } from './saved-views';

export function ViewHeader(props: { title: ComponentChildren; live: boolean; children?: ComponentChildren }): JSX.Element {
  return (
    <header class="top">
      <h1>{props.title}</h1>
      <div class="top-tools">
        {props.children}
        <SavedViews />
        {props.live ? <LiveButton /> : <NotLive />}
      </div>
    </header>
  );
}

/** New rows do not appear in this view: its range has ended, or its order puts them elsewhere. */
function NotLive(): JSX.Element {
  const { text } = useI18n();
  return (
    <span class="live live-past" title={text.live.pastHint} role="status">
      <span class="dot" aria-hidden="true" />
      {text.live.past}
    </span>
  );
}

type Shown = 'live' | 'paused' | 'connecting' | 'waiting' | Outage;

function LiveButton(): JSX.Element {
  const { text, format } = useI18n();
  const { live } = usePrefs();
  const stream = useStore(streamState);
  const trouble = useStore(outage);
  const at = useStore(updatedAt);
  const now = useNow(5000);
  useShortcuts({ p: () => setPrefs({ live: !live }) });
  const state: Shown = !live ? 'paused' : (trouble ?? (stream === 'waiting' || stream === 'connecting' ? stream : 'live'));
  const title = [live ? text.live.pause : text.live.resume, at && text.live.updated(format.ago(at, Math.max(now, at)))];
  return (
    <>
      <button
        type="button"
        class={`button live live-${state}`}
        aria-label={`${text.live[state]}: ${live ? text.live.pause : text.live.resume}`}
        title={title.filter(Boolean).join(' · ')}
        onClick={() => setPrefs({ live: !live })}
      >
        <span class="dot" aria-hidden="true" />
        <span>{text.live[state]}</span>
        <Icon name={live ? 'pause' : 'play'} />
      </button>
      <span class="visually-hidden" role="status">
        {text.live[state]}
      </span>
    </>
  );
}
