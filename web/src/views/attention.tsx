// The keys that need attention, each with its state and the provider's message.
import type { JSX } from 'preact';
import { useMemo } from 'preact/hooks';
import { AttentionDocument } from '../api/gen/graphql';
import { attentionOf, type UnhealthyKey, type Attention } from '../domain/attention';
import { firstLine } from '../domain/provider';
import { useI18n, type I18n } from '../i18n';
import { useQuery, type Answer } from '../state/query';
import { linkTo } from '../state/router';
import { pageLimit, serverNow } from '../state/session';
import { Key, ReasonTag } from '../ui/marks';
import { Panel } from '../ui/panel';
import { Empty, AnswerView } from '../ui/state';

const RENEW_MS = 30_000;
const DAY_MS = 86_400_000;
const SIX_HOURS_MS = DAY_MS / 4;
/** The list of keys shows the rest. */
const SHOWN = 6;

export function useAttention(): Answer<Attention> {
  const answer = useQuery(AttentionDocument, {
    key: 'attention',
    variables: () => {
      const ago = (ms: number): string => new Date(serverNow() - ms).toISOString();
      return { since: ago(DAY_MS), sixHours: { since: ago(SIX_HOURS_MS), until: ago(0) }, first: pageLimit(1000) };
    },
    everyMs: RENEW_MS,
  });
  const data = useMemo(() => answer.data && attentionOf(answer.data, serverNow()), [answer.data]);
  return { ...answer, data };
}

/** Why a key is unhealthy, as a sentence. */
export function reasonText({ text, format }: I18n, key: UnhealthyKey): string {
  const window = text.attention.windows[key.window];
  if (key.reason === 'slow') return text.attention.slow(format.latency(key.p95 ?? 0));
  if (key.reason === 'silent') return text.attention.silent(key.lastSeenAt ? format.ago(key.lastSeenAt, serverNow()) : '–');
  return text.attention[key.reason](format.count(key.affected), format.count(key.total), window);
}

export function AttentionPanel({ answer }: { answer: Answer<Attention> }): JSX.Element {
  const i18n = useI18n();
  const { text, format } = i18n;
  return (
    <Panel
      title={text.attention.title}
      class="attention"
      actions={
        <a data-inner class="button small" href={linkTo('/keys')}>
          {text.attention.all}
        </a>
      }
    >
      <AnswerView answer={answer}>
        {({ keys, pool, poolThrottled }) => (
          <>
            {poolThrottled !== undefined && <p class="notice">{text.attention.pool(format.percent(poolThrottled))}</p>}
            {keys.length === 0 ? (
              <Empty icon="healthy" title={text.attention.none}>
                <p>{text.attention.noneHint(pool, format.count(pool))}</p>
              </Empty>
            ) : (
              <ul class="unhealthy" id="attention">
                {keys.slice(0, SHOWN).map((key) => (
                  <li key={key.id}>
                    <a data-inner class="unhealthy-row" href={linkTo(`/keys/${key.id}`)}>
                      <ReasonTag reason={key.reason} />
                      <Key masked={key.masked} />
                      <span class="unhealthy-reason">{reasonText(i18n, key)}</span>
                      {key.providerError && (
                        <q class="unhealthy-message" title={text.calls.providerMessage}>
                          {key.providerError.code != null && <b class="mono">{key.providerError.code} </b>}
                          {firstLine(key.providerError.message)}
                        </q>
                      )}
                    </a>
                  </li>
                ))}
              </ul>
            )}
            {keys.length > SHOWN && (
              <a data-inner class="more" href={linkTo('/keys', { state: 'attention' })}>
                {text.attention.more(format.count(keys.length - SHOWN))}
              </a>
            )}
          </>
        )}
      </AnswerView>
    </Panel>
  );
}
