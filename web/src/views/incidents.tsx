// Incidents: the diagnoses of the API, as a list and in the side panel. The texts of the API are shown as they are.
import type { ComponentChildren, JSX } from 'preact';
import { IncidentDocument } from '../api/gen/graphql';
import { callParams, ongoingFirst, type Incident, type Since } from '../domain/incident';
import { firstLine } from '../domain/provider';
import { useI18n, type I18n } from '../i18n';
import { rangeText } from '../i18n/range-text';
import { type Diagnosed, type useIncidents } from '../state/incidents';
import { useQuery } from '../state/query';
import { endOf, exceedsDay, frozen, isLive, type Part, type Range } from '../state/range';
import { linkTo, setParams, urlOf, useRoute, withParams } from '../state/router';
import { serverNow } from '../state/session';
import { CopyButton } from '../ui/copy';
import { Drawer } from '../ui/drawer';
import { GraphiqlLink } from '../ui/graphiql-link';
import { CodeMark, Key, SeverityTag } from '../ui/marks';
import { Panel } from '../ui/panel';
import { Failure, Skeleton } from '../ui/state';

/** The error codes for an id that is not one. */
const UNKNOWN = new Set(['NOT_FOUND', 'BAD_USER_INPUT']);

/** The time that the diagnoses of a range cover, within a sentence. */
export function diagnosedText(i18n: I18n, range: Range, part: Part): string {
  if (part === 'all' || !exceedsDay(range, serverNow())) return rangeText(i18n, range);
  if (isLive(range)) return i18n.text.range.within['24h'];
  return i18n.text.incidents.dayBefore(i18n.format.time(endOf(range, serverNow())));
}

/** Its start in the time zone of the page, the last success before it, and its failed calls. */
export function sinceLine({ text, format }: I18n, { cause, since, lastSuccessAt, failures }: Since): string {
  const failed = cause === 'SILENT' ? '' : text.incidents[cause === 'SLOW' ? 'slowCalls' : 'failures'](failures, format.count(failures));
  return text.incidents.sinceLine(format.time(since), lastSuccessAt == null ? undefined : format.timeBeside(lastSuccessAt, since), failed);
}

/** The address of an incident: a parameter of the overview. */
export function useIncidentLink(): (id: string) => string {
  const { path, params } = useRoute();
  return (id) => (path === '/' ? urlOf('/', withParams(params, { incident: id })) : linkTo('/', { incident: id }));
}

/**
 * The incidents, in a box of a fixed height until the user opens it: an answer that arrives late must not move the charts
 * below. Failed requests are an answer as well: then it is unknown what is wrong.
 */
export function IncidentsPanel({ diagnosed, range }: { diagnosed: ReturnType<typeof useIncidents>; range: Range }): JSX.Element {
  const i18n = useI18n();
  const { text, format } = i18n;
  const { params } = useRoute();
  const { part, isCut } = diagnosed;
  const { data, error, stale, reload } = diagnosed.answer;
  const incidents = error || stale ? undefined : data?.diagnoses;
  const showsAll = params.get('incidents') === 'all';
  let content: JSX.Element;
  if (error) content = <Failure error={error} retry={reload} />;
  else if (!incidents) content = <Skeleton rows={3} />;
  else if (incidents.length === 0) {
    content = (
      <p class="incident-none">
        {text.incidents.none} <span class="quiet">{text.incidents.searched}</span>
      </p>
    );
  } else content = <IncidentList incidents={incidents} range={range} />;
  return (
    <Panel
      title={text.incidents.title}
      class="incidents"
      actions={
        <>
          <span class="quiet">
            {incidents && isCut && text.incidents.mostSevere(format.count(incidents.length))} {diagnosedText(i18n, range, part)}
          </span>
          {incidents && incidents.length > 1 && (
            <button type="button" class="button small" aria-expanded={showsAll} onClick={() => setParams({ incidents: showsAll ? undefined : 'all' })}>
              {showsAll ? text.incidents.showFew : text.incidents.showAll(format.count(incidents.length))}
            </button>
          )}
        </>
      }
    >
      <div id="incidents" class="incident-box" data-all={showsAll || undefined} tabIndex={0} role="group" aria-label={text.incidents.title}>
        {content}
      </div>
    </Panel>
  );
}

export function IncidentList({ incidents, range }: { incidents: Incident[]; range: Range }): JSX.Element {
  return (
    <ul class="incident-list">
      {ongoingFirst(incidents).map((incident) => (
        <IncidentRow key={incident.id} incident={incident} range={range} />
      ))}
    </ul>
  );
}

function IncidentRow({ incident, range }: { incident: Incident; range: Range }): JSX.Element {
  const { text, format } = useI18n();
  const link = useIncidentLink();
  return (
    <li class={`incident incident-${incident.severity}`}>
      <p class="incident-head">
        <SeverityTag severity={incident.severity} />
        <strong>{text.incidents.causes[incident.cause]}</strong>
        <span class="incident-time">
          <Times incident={incident} />
        </span>
      </p>
      <p>
        <a data-inner class="incident-sentence" href={link(incident.id)}>
          <bdi>{incident.sentence}</bdi>
        </a>
      </p>
      <p class="incident-facts">
        {incident.cause !== 'SILENT' && <Failures incident={incident} />}
        {incident.lastSuccessAt != null && (
          <span>
            {text.incidents.lastSuccess} <time dateTime={incident.lastSuccessAt}>{format.timeBeside(incident.lastSuccessAt, incident.since)}</time>
          </span>
        )}
        <span>{text.incidents.remedies[incident.remedy]}</span>
        <AffectedKeys incident={incident} />
        <AffectedCalls incident={incident} range={range} />
      </p>
    </li>
  );
}

/** In the time zone of the page; the sentence of the API has UTC. */
function Times({ incident: { since, until } }: { incident: Incident }): JSX.Element {
  const { text, format } = useI18n();
  return (
    <>
      <time dateTime={since} title={format.fullTime(since)}>
        {format.time(since)}
      </time>
      {' – '}
      {until == null ? (
        <span class="incident-ongoing">{text.incidents.ongoing}</span>
      ) : (
        <time dateTime={until} title={format.fullTime(until)}>
          {format.timeBeside(until, since)}
        </time>
      )}
    </>
  );
}

function Failures({ incident: { cause, failures } }: { incident: Incident }): JSX.Element {
  const { text, format } = useI18n();
  return <span>{text.incidents[cause === 'SLOW' ? 'slowCalls' : 'failures'](failures, format.count(failures))}</span>;
}

function AffectedKeys({ incident: { keys } }: { incident: Incident }): JSX.Element {
  const { text } = useI18n();
  if (keys.length === 0) return <span>{text.incidents.allKeys}</span>;
  return (
    <>
      {keys.map(({ id, masked }) => (
        <a key={id} data-inner href={linkTo(`/keys/${id}`)}>
          <Key masked={masked} />
        </a>
      ))}
    </>
  );
}

function AffectedCalls({ incident, range }: { incident: Incident; range: Range }): JSX.Element | null {
  const { text } = useI18n();
  const params = callParams(incident, endOf(range, serverNow()));
  if (!params) return null;
  return (
    <a data-inner href={linkTo('/calls', params)}>
      {text.incidents.calls}
    </a>
  );
}

/** An incident in the side panel: from the list, or by its id. */
export function IncidentDetail(props: { id: string; diagnosed: Diagnosed<{ diagnoses: Incident[] }>; range: Range; onClose: () => void }): JSX.Element {
  const { id, range, onClose } = props;
  const { answer, isLoading } = props.diagnosed;
  const { text, language } = useI18n();
  const listed = answer.stale ? undefined : answer.data?.diagnoses.find((incident) => incident.id === id);
  const variables = { id, language };
  const single = useQuery(IncidentDocument, { key: listed ? undefined : JSON.stringify(variables), variables: () => variables });
  const node = single.stale ? undefined : single.data?.node;
  const found = listed ?? (node?.__typename === 'Diagnosis' ? node : undefined);
  const error = single.error;
  let content: ComponentChildren;
  if (found) content = <Detail incident={found} range={range} />;
  else if (error && !UNKNOWN.has(error.code)) content = <Failure error={error} retry={single.reload} />;
  else if (isLoading || (!error && (single.stale || single.data === undefined))) content = <Skeleton rows={6} />;
  else if (answer.error) content = <Failure error={answer.error} retry={answer.reload} />;
  else content = <p class="quiet">{text.incidents.gone}</p>;
  return (
    <Drawer title={text.incidents.incident} onClose={onClose}>
      {content}
      {found && (
        <div class="buttons">
          <CopyButton label={text.range.link} text={() => location.origin + linkTo('/', { ...frozen(range, serverNow()), incident: id })} />
          <GraphiqlLink document={IncidentDocument} variables={variables} />
        </div>
      )}
    </Drawer>
  );
}

function Detail({ incident, range }: { incident: Incident; range: Range }): JSX.Element {
  const { text, format } = useI18n();
  const { severity, cause, remedy, models, since, until, share, confidence, sentence } = incident;
  const isSilent = cause === 'SILENT';
  return (
    <>
      <p class="incident-head">
        <SeverityTag severity={severity} />
        <strong>{text.incidents.causes[cause]}</strong>
      </p>
      <p class="incident-sentence">
        <bdi>{sentence}</bdi>
      </p>
      <dl class="facts">
        <dt>{text.incidents.since}</dt>
        <dd>
          <time dateTime={since}>{format.fullTime(since)}</time>
        </dd>
        {incident.lastSuccessAt != null && (
          <>
            <dt>{text.incidents.lastSuccess}</dt>
            <dd>
              <time dateTime={incident.lastSuccessAt}>{format.fullTime(incident.lastSuccessAt)}</time>
            </dd>
          </>
        )}
        <dt>{text.incidents.until}</dt>
        <dd>{until == null ? text.incidents.ongoing : <time dateTime={until}>{format.fullTime(until)}</time>}</dd>
        <dt>{text.incidents.remedy}</dt>
        <dd>{text.incidents.remedies[remedy]}</dd>
        <dt>{text.app.keys}</dt>
        <dd class="incident-facts">
          <AffectedKeys incident={incident} />
        </dd>
        <dt>{text.overview.models}</dt>
        <dd>{models.length === 0 ? text.incidents.allModels : models.map((model) => <bdi key={model}>{model} </bdi>)}</dd>
        {!isSilent && (
          <>
            <dt>{text.app.calls}</dt>
            <dd class="incident-facts">
              <Failures incident={incident} />
              <AffectedCalls incident={incident} range={range} />
            </dd>
          </>
        )}
        {share > 0 && (
          <>
            <dt>{text.incidents.share}</dt>
            <dd>{format.percent(share)}</dd>
          </>
        )}
        <dt>{text.incidents.confidence}</dt>
        <dd>{format.percent(confidence)}</dd>
      </dl>
      {incident.evidence.length > 0 && <Evidence incident={incident} />}
    </>
  );
}

/** Typical error logs, each linked to its full text. */
function Evidence({ incident: { evidence } }: { incident: Incident }): JSX.Element {
  const { text, format } = useI18n();
  return (
    <div class="block">
      <h3>{text.incidents.evidence}</h3>
      <ul class="evidence">
        {evidence.map(({ id, timestamp, errorCode, message }) => (
          <li key={id}>
            <a data-inner href={linkTo('/errors', { error: id })}>
              <CodeMark code={errorCode} />
              <time dateTime={timestamp}>{format.time(timestamp)}</time>
            </a>
            <div class="provider-message">{firstLine(message) || '–'}</div>
          </li>
        ))}
      </ul>
    </div>
  );
}
