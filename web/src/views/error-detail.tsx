// The details of one error log.
import type { JSX } from 'preact';
import { ErrorByIdDocument, type ErrorDetailFragment } from '../api/gen/graphql';
import { useI18n } from '../i18n';
import { useQuery } from '../state/query';
import { linkTo } from '../state/router';
import { hasScope } from '../state/session';
import { Drawer } from '../ui/drawer';
import { GraphiqlLink } from '../ui/graphiql-link';
import { Key } from '../ui/marks';
import { AnswerView } from '../ui/state';
import { Cause } from './cause';
import { ErrorMessage } from './error-message';

export function ErrorDetail(props: { id: string; onClose: () => void; previous: string | undefined; next: string | undefined }): JSX.Element {
  const { id, onClose, previous, next } = props;
  const { text } = useI18n();
  const variables = { id, requests: hasScope('READ_REQUESTS') };
  const answer = useQuery(ErrorByIdDocument, { key: id, variables: () => variables });
  return (
    <Drawer title={text.detail.error} onClose={onClose} previous={previous} next={next}>
      <AnswerView answer={answer}>
        {({ node }) =>
          node?.__typename === 'ErrorLog' ? (
            <>
              <Facts error={node} />
              <Cause failure={node.failure} />
              <ErrorMessage error={node} />
              <div class="buttons">
                <GraphiqlLink document={ErrorByIdDocument} variables={variables} />
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

function Facts({ error }: { error: ErrorDetailFragment }): JSX.Element {
  const { text, format } = useI18n();
  const at = Date.parse(error.timestamp);
  return (
    <dl class="facts">
      <dt>{text.calls.time}</dt>
      <dd>{format.fullTime(error.timestamp)}</dd>
      <dt>{text.errors.type}</dt>
      <dd>{error.errorType ?? <span class="quiet">{text.errors.noType}</span>}</dd>
      <dt>{text.calls.model}</dt>
      <dd>{error.model ?? <span class="quiet">{text.counts.noModel}</span>}</dd>
      <dt>{text.calls.key}</dt>
      <dd>
        {error.apiKey ? (
          <>
            <a data-inner href={linkTo(`/keys/${error.apiKey.id}`)}>
              <Key masked={error.apiKey.masked} />
            </a>
            {' · '}
            <a
              data-inner
              href={linkTo('/calls', {
                key: error.apiKey.id,
                range: undefined,
                since: new Date(at - 300_000).toISOString(),
                until: new Date(at + 60_000).toISOString(),
              })}
            >
              {text.detail.nearbyCalls}
            </a>
          </>
        ) : (
          <Key masked={undefined} />
        )}
      </dd>
      <dt>{text.detail.id}</dt>
      <dd class="mono">{error.databaseId}</dd>
    </dl>
  );
}
