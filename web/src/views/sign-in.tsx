// The form that exchanges a token for a session. The address stays the same, so that the user returns to the
// same view.
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { ApiError } from '../api/client';
import { useI18n } from '../i18n';
import { errorText } from '../i18n/error-text';
import { signIn } from '../state/session';
import { Logo } from '../ui/shell';

export function SignIn({ expired }: { expired: boolean }): JSX.Element {
  const { text } = useI18n();
  const [token, setToken] = useState('');
  const [problem, setProblem] = useState<string>();
  const [busy, setBusy] = useState(false);
  const submit = async (): Promise<void> => {
    setBusy(true);
    setProblem(undefined);
    try {
      const { scopes } = await signIn(token.trim());
      if (!scopes.includes('READ')) setProblem(text.signIn.noRead);
    } catch (cause) {
      const error = cause instanceof ApiError ? cause : new ApiError('INTERNAL', String(cause));
      setProblem(error.code === 'UNAUTHENTICATED' ? text.signIn.wrong : errorText(text, error));
    }
    setBusy(false);
  };
  return (
    <main class="alone">
      <form
        class="panel sign-in"
        onSubmit={(event) => {
          event.preventDefault();
          void submit();
        }}
      >
        <Logo />
        <h1>{text.signIn.title}</h1>
        {expired && <p class="notice">{text.signIn.expired}</p>}
        <p class="quiet" id="token-hint">
          {text.signIn.hint}
        </p>
        <label class="stacked">
          {text.signIn.token}
          <input
            class="input mono"
            type="password"
            name="token"
            autocomplete="current-password"
            required
            autofocus
            aria-describedby="token-hint"
            aria-invalid={problem !== undefined}
            value={token}
            onInput={(event) => setToken(event.currentTarget.value)}
          />
        </label>
        {problem && (
          <p class="problem" role="alert">
            {problem}
          </p>
        )}
        <button type="submit" class="button primary" disabled={busy || !token.trim()}>
          {text.signIn.submit}
        </button>
        <p class="quiet">
          {text.signIn.make} <code>callscope token create NAME --scopes READ</code>
        </p>
      </form>
    </main>
  );
}
