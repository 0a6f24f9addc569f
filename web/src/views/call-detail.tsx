// The details of one call: its data, the provider's message, and nearby calls of the same key.
import type { JSX } from 'preact';
import { CallDetailDocument, NearbyCallsDocument, type CallDetailQuery, type NearbyCallsQuery } from '../api/gen/graphql';
import { byTime } from '../domain/order';
import { useI18n } from '../i18n';
import { useQuery } from '../state/query';
import { urlOf, withParams, linkTo, useRoute } from '../state/router';
import { hasScope } from '../state/session';
import { Drawer } from '../ui/drawer';
import { GraphiqlLink } from '../ui/graphiql-link';
import { Key, StatusMark } from '../ui/marks';
import { AnswerView } from '../ui/state';
import { Cause } from './cause';
import { ErrorMessage } from './error-message';

type Call = Extract<NonNullable<CallDetailQuery['node']>, { __typename: 'Call' }>;
type NearbyCall = NearbyCallsQuery['earlier']['nodes'][number];

const AROUND_MS = 24 * 3_600_000;

export function CallDetail(props: { id: string; onClose: () => void; previous: string | undefined; next: string | undefined }): JSX.Element {
  const { id, onClose, previous, next } = props;
  const { text } = useI18n();
  const variables = { id, requests: hasScope('READ_REQUESTS') };
  const answer = useQuery(CallDetailDocument, { key: id, variables: () => variables });
  return (
    <Drawer title={text.detail.call} onClose={onClose} previous={previous} next={next}>
      <AnswerView answer={answer}>
        {({ node }) =>
          node?.__typename === 'Call' ? (
            <>
              <Facts call={node} />
              {node.failure && <Cause failure={node.failure} />}
              {node.errorLog ? (
                <ErrorMessage error={node.errorLog} />
              ) : (
                node.status === 'FAILURE' && <p class="quiet">{text.detail.noError}</p>
              )}
              {node.apiKey && <NearbyCalls call={node} keyId={node.apiKey.id} />}
              <div class="buttons">
                <GraphiqlLink document={CallDetailDocument} variables={variables} />
              </div>
            </>
          ) : (
            <p class="quiet">{text.detail.gone}</p>
          )
        }
      </AnswerView>
    </Drawer>
  );
}

function Facts({ call }: { call: Call }): JSX.Element {
  const { text, format } = useI18n();
  return (
    <dl class="facts">
      <dt>{text.calls.time}</dt>
      <dd>{format.fullTime(call.timestamp)}</dd>
      <dt>{text.calls.status}</dt>
      <dd>
        <StatusMark status={call.status} code={call.statusCode} />
      </dd>
      <dt>{text.calls.model}</dt>
      <dd>{call.model ?? <span class="quiet">{text.counts.noModel}</span>}</dd>
      <dt>{text.calls.key}</dt>
      <dd>
        {call.apiKey ? (
          <a data-inner href={linkTo(`/keys/${call.apiKey.id}`)}>
            <Key masked={call.apiKey.masked} />
          </a>
        ) : (
          <Key masked={undefined} />
        )}
      </dd>
      <dt>{text.calls.latency}</dt>
      <dd>{call.latencyMs == null ? '–' : format.latency(call.latencyMs)}</dd>
      {call.errorLog?.errorType && (
        <>
          <dt>{text.detail.type}</dt>
          <dd>{call.errorLog.errorType}</dd>
        </>
      )}
      <dt>{text.detail.id}</dt>
      <dd class="mono">{call.databaseId}</dd>
    </dl>
  );
}

function NearbyCalls({ call, keyId }: { call: Call; keyId: string }): JSX.Element {
  const { text, format } = useI18n();
  const { path, params } = useRoute();
  const at = Date.parse(call.timestamp);
  const iso = (ms: number): string => new Date(ms).toISOString();
  const answer = useQuery(NearbyCallsDocument, {
    key: call.id,
    // `Date` has milliseconds, calls have microseconds.
    variables: () => ({ key: keyId, since: iso(at - AROUND_MS), at: iso(at), after: iso(at + 1), until: iso(at + AROUND_MS) }),
  });
  const around = (data: NearbyCallsQuery): NearbyCall[] => {
    const all = new Map([...data.later.nodes.toReversed(), ...data.earlier.nodes].map((one) => [one.id, one]));
    return [...all.values()].sort(byTime);
  };
  return (
    <div class="block">
      <div class="block-head">
        <h3>{text.detail.nearbyCalls}</h3>
        <a data-inner href={linkTo('/calls', { key: keyId })}>
          {text.detail.keyCalls}
        </a>
      </div>
      <AnswerView answer={answer}>
        {(data) => (
          <ul class="nearby-calls">
            {around(data).map((one) => (
              <li key={one.id}>
                <a
                  data-inner
                  href={urlOf(path, withParams(params, { call: one.id }))}
                  aria-current={one.id === call.id || undefined}
                  aria-label={one.id === call.id ? text.detail.this : undefined}
                >
                  <span>{format.time(one.timestamp)}</span>
                  <StatusMark status={one.status} code={one.statusCode} />
                  <span class="clip quiet">{one.model}</span>
                  <span class="num">{one.latencyMs == null ? '–' : format.latency(one.latencyMs)}</span>
                </a>
              </li>
            ))}
          </ul>
        )}
      </AnswerView>
    </div>
  );
}
