// The header of a view: title, time range, live state.
import type { ComponentChildren, JSX } from 'preact';
import { useI18n } from '../i18n';
import { streamState, updatedAt, useNow } from '../state/live';
import { setPrefs, usePrefs } from '../state/prefs';
import { reachable } from '../state/session';
import { useStore } from '../state/store';
import { useShortcuts } from '../state/shortcuts';
import { Icon } from './icon';

export function ViewHeader(props: { title: ComponentChildren; children?: ComponentChildren }): JSX.Element {
  return (
    <header class="top">
      <h1>{props.title}</h1>
      <div class="top-tools">
        {props.children}
        <LiveButton />
      </div>
    </header>
  );
}

type Shown = 'live' | 'paused' | 'connecting' | 'waiting' | 'offline';

function LiveButton(): JSX.Element {
  const { text, format } = useI18n();
  const { live } = usePrefs();
  const stream = useStore(streamState);
  const reached = useStore(reachable);
  const at = useStore(updatedAt);
  const now = useNow(5000);
  useShortcuts({ p: () => setPrefs({ live: !live }) });
  const state: Shown = !live
    ? 'paused'
    : !reached
      ? 'offline'
      : stream === 'waiting' || stream === 'connecting'
        ? stream
        : 'live';
  const title = [live ? text.live.pause : text.live.resume, at && text.live.updated(format.ago(at, Math.max(now, at)))];
  return (
    <>
      <button
        type="button"
        class={`button live live-${state}`}
        aria-label={live ? text.live.pause : text.live.resume}
        title={title.filter(Boolean).join(' · ')}
        onClick={() => setPrefs({ live: !live })}
      >
        <span class="dot" aria-hidden="true" />
        <span aria-hidden="true">{text.live[state]}</span>
        <Icon name={live ? 'pause' : 'play'} />
      </button>
      <span class="visually-hidden" role="status">
        {text.live[state]}
      </span>
    </>
  );
}
