// Selects the view of an address, or the sign-in form.
import type { JSX } from 'preact';
import { useEffect, useErrorBoundary } from 'preact/hooks';
import { ApiError } from './api/client';
import { useI18n } from './i18n';
import { clearAnswerCache } from './state/query';
import { linkTo, useRoute } from './state/router';
import { start, useSession } from './state/session';
import { Shell } from './ui/shell';
import { Empty, Failure } from './ui/state';
import { Calls } from './views/calls';
import { Errors } from './views/errors';
import { KeyView } from './views/key';
import { Keys } from './views/keys';
import { Overview } from './views/overview';
import { SignIn } from './views/sign-in';

const TRY_AGAIN_MS = 1500;

export function App(): JSX.Element {
  const session = useSession();
  const { text } = useI18n();
  const { path } = useRoute();
  const failed = session.state === 'failed';
  useEffect(() => {
    if (!failed) return undefined;
    const timer = setInterval(() => void start(), TRY_AGAIN_MS);
    return () => clearInterval(timer);
  }, [failed]);
  switch (session.state) {
    case 'starting':
      return <main class="alone" aria-busy="true" aria-label={text.state.starting} />;
    case 'failed':
      return (
        <main class="alone">
          <h1 class="visually-hidden">{text.app.name}</h1>
          <Failure error={session.error} retry={() => void start()} />
        </main>
      );
    case 'signedOut':
      return <SignIn expired={session.expired} />;
    case 'signedIn':
      return (
        <Shell boot={session.boot} hasSession={session.hasSession}>
          <GuardedView key={path} />
        </Shell>
      );
  }
}

/** A part of the path; as it is if its escapes are invalid. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/**
 * Shows the failure of a view that throws. Without this, the view would keep its old data as if it were current.
 * The answer that it cannot show must not come from the cache again.
 */
function GuardedView(): JSX.Element {
  const [error, reset] = useErrorBoundary(clearAnswerCache) as [unknown, () => void];
  return error !== undefined ? <Failure error={new ApiError('PAGE_FAULT', error instanceof Error ? error.message : '')} retry={reset} /> : <View />;
}

function View(): JSX.Element {
  const { text } = useI18n();
  const { path } = useRoute();
  const [, name = '', id] = path.split('/');
  const title = { '': text.app.overview, calls: text.app.calls, keys: text.app.keys, errors: text.app.errors }[name];
  useEffect(() => {
    document.title = title ? `${title} · ${text.app.name}` : text.app.name;
  }, [title, text]);
  if (name === '') return <Overview />;
  if (name === 'calls' && id === undefined) return <Calls />;
  if (name === 'errors' && id === undefined) return <Errors />;
  if (name === 'keys' && path.split('/').length <= 3) return id ? <KeyView key={id} id={decoded(id)} /> : <Keys />;
  return (
    <Empty icon="search" title={text.app.notFound}>
      <a data-inner class="button" href={linkTo('/')}>
        {text.app.toOverview}
      </a>
    </Empty>
  );
}
