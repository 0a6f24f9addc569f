// One call: what it was, what the provider said, and what else its key did around it.
import type { JSX } from 'preact';
import { CallDetailDocument, NeighboursDocument, type CallDetailQuery, type NeighboursQuery } from '../api/gen/graphql';
import { byTime } from '../domain/order';
import { useSpeech } from '../i18n';
import { useQuery } from '../state/query';
import { address, changed, linkTo, usePlace } from '../state/router';
import { may } from '../state/session';
import { Drawer } from '../ui/drawer';
import { GraphiqlLink } from '../ui/graphiql-link';
import { Key, StatusMark } from '../ui/marks';
import { Shown } from '../ui/state';
import { Words } from './words';

type Call = Extract<NonNullable<CallDetailQuery['node']>, { __typename: 'Call' }>;
type Neighbour = NeighboursQuery['earlier']['nodes'][number];

const AROUND_MS = 24 * 3_600_000;

export function CallDetail({ id, onClose }: { id: string; onClose: () => void }): JSX.Element {
  const { text } = useSpeech();
  const variables = { id, requests: may('READ_REQUESTS') };
  const answer = useQuery(CallDetailDocument, { key: id, variables: () => variables });
  return (
    <Drawer title={text.detail.call} onClose={onClose}>
      <Shown answer={answer}>
        {({ node }) =>
          node?.__typename === 'Call' ? (
            <>
              <Facts call={node} />
              {node.errorLog ? (
                <Words error={node.errorLog} />
              ) : (
                node.status === 'FAILURE' && <p class="quiet">{text.detail.noError}</p>
              )}
              {node.apiKey && <Neighbours call={node} keyId={node.apiKey.id} />}
              <div class="buttons">
                <GraphiqlLink document={CallDetailDocument} variables={variables} />
              </div>
            </>
          ) : (
            <p class="quiet">{text.detail.gone}</p>
          )
        }
      </Shown>
    </Drawer>
  );
}

function Facts({ call }: { call: Call }): JSX.Element {
  const { text, format } = useSpeech();
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

function Neighbours({ call, keyId }: { call: Call; keyId: string }): JSX.Element {
  const { text, format } = useSpeech();
  const { path, params } = usePlace();
  const at = Date.parse(call.timestamp);
  const iso = (ms: number): string => new Date(ms).toISOString();
  const answer = useQuery(NeighboursDocument, {
    key: call.id,
    // A millisecond is the finest that we tell; calls have microseconds.
    variables: () => ({ key: keyId, since: iso(at - AROUND_MS), at: iso(at), after: iso(at + 1), until: iso(at + AROUND_MS) }),
  });
  const around = (data: NeighboursQuery): Neighbour[] => {
    const all = new Map([...data.later.nodes.toReversed(), ...data.earlier.nodes].map((one) => [one.id, one]));
    return [...all.values()].sort(byTime);
  };
  return (
    <div class="block">
      <div class="block-head">
        <h3>{text.detail.neighbours}</h3>
        <a data-inner href={linkTo('/calls', { key: keyId })}>
          {text.detail.keyCalls}
        </a>
      </div>
      <Shown answer={answer}>
        {(data) => (
          <ul class="neighbours">
            {around(data).map((one) => (
              <li key={one.id}>
                <a
                  data-inner
                  href={address(path, changed(params, { call: one.id }))}
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
      </Shown>
    </div>
  );
}
