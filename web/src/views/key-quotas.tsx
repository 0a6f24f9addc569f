// Whether and when a key can be used, its quotas, and what was wrong with it within the range.
import type { JSX } from 'preact';
import type { KeyIncidentsQuery, KeyQuotasQuery, QuotaRowFragment } from '../api/gen/graphql';
import { secondsOf, timelineOf, usedShare } from '../domain/quota';
import { useI18n } from '../i18n';
import { useKeyQuotas } from '../state/incidents';
import { useNow } from '../state/live';
import { diagnosedSince, endOf, type Part, type Range } from '../state/range';
import { linkTo } from '../state/router';
import { serverNow } from '../state/session';
import { Key } from '../ui/marks';
import { Panel } from '../ui/panel';
import { AnswerView } from '../ui/state';

type Known = NonNullable<KeyQuotasQuery['apiKey']>;

export function QuotasPanel({ id, range }: { id: string; range: Range }): JSX.Element {
  const { text } = useI18n();
  const answer = useKeyQuotas(id, range);
  return (
    <Panel title={text.quotas.title} class="full">
      <AnswerView answer={answer}>{({ apiKey }) => apiKey && <Quotas apiKey={apiKey} id={id} range={range} />}</AnswerView>
    </Panel>
  );
}

function Quotas({ apiKey, id, range }: { apiKey: Known; id: string; range: Range }): JSX.Element {
  const { text, format } = useI18n();
  const { usability, quotas, quotaGroup } = apiKey;
  // Countdowns of seconds, up to the end of the range.
  const ticking = Math.max(useNow(1000), serverNow());
  const now = Math.min(endOf(range, ticking), ticking);
  const usableAt = usability.usableAt == null ? undefined : Date.parse(usability.usableAt);
  const others = quotaGroup?.keys.filter((key) => key.id !== id) ?? [];
  return (
    <>
      <p class={`usability usability-${usability.state}`}>
        <strong>{text.quotas.states[usability.state]}</strong>
        {usability.state !== 'USABLE' && usableAt !== undefined && usableAt > now && (
          <span role="timer">{text.quotas.usableAgain(format.time(usableAt), format.ago(usableAt, now))}</span>
        )}
        {usability.because && (
          <a data-inner href={linkTo('/', { incident: usability.because.id })}>
            <bdi>{usability.because.sentence}</bdi>
          </a>
        )}
      </p>
      {quotas.length === 0 ? <p class="quiet">{text.quotas.none}</p> : <QuotaTable quotas={quotas} now={now} />}
      {others.length > 0 && (
        <p class="incident-facts">
          <span>{text.quotas.shared[quotaGroup?.basis ?? 'LEARNT']}</span>
          {others.map((key) => (
            <a key={key.id} data-inner href={linkTo(`/keys/${key.id}`)}>
              <Key masked={key.masked} />
            </a>
          ))}
        </p>
      )}
    </>
  );
}

function QuotaTable({ quotas, now }: { quotas: QuotaRowFragment[]; now: number }): JSX.Element {
  const { text } = useI18n();
  const heads = [text.quotas.limit, text.quotas.used, text.quotas.remaining];
  return (
    <div class="table-box fit" tabIndex={0} role="group" aria-label={text.quotas.title}>
      <table class="table plain">
        <thead>
          <tr>
            <th scope="col" class="col-name">
              {text.calls.model}
            </th>
            <th scope="col">{text.quotas.metric}</th>
            <th scope="col" class="col-bar">
              <span class="visually-hidden">{text.quotas.share}</span>
            </th>
            {heads.map((head) => (
              <th key={head} scope="col" class="num">
                {head}
              </th>
            ))}
            <th scope="col">{text.quotas.resets}</th>
          </tr>
        </thead>
        <tbody>
          {quotas.map((quota) => (
            <QuotaRow key={`${quota.model ?? ''} ${quota.metric} ${quota.window}`} quota={quota} now={now} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

function QuotaRow({ quota, now }: { quota: QuotaRowFragment; now: number }): JSX.Element {
  const { text, format } = useI18n();
  const { model, metric, window, ceiling, used, remaining, resetsAt, basis } = quota;
  const share = usedShare(quota);
  const seconds = secondsOf(window);
  const resets = resetsAt == null ? undefined : Date.parse(resetsAt);
  // The log has no tokens.
  const isCounted = metric === 'REQUESTS';
  const estimate =
    ceiling && (ceiling.low === ceiling.high ? '' : text.quotas.between(format.count(ceiling.low), format.count(ceiling.high)));
  return (
    <tr>
      <th scope="row" class="col-name">
        {model ?? <span class="quiet">{text.incidents.allModels}</span>}
      </th>
      <td>
        {text.quotas.per(text.quotas.metrics[metric], seconds === undefined ? window : format.duration(seconds))}
      </td>
      <td class="col-bar">
        {share !== undefined && (
          <span class="meter quota-meter" aria-hidden="true">
            <span class={share >= 1 ? 'bar-bad' : 'bar-good'} style={{ width: `${share * 100}%` }} />
          </span>
        )}
      </td>
      <td class="num" title={ceiling ? [text.quotas.bases[basis], estimate].filter(Boolean).join(', ') : undefined}>
        {ceiling ? `${basis === 'LEARNT' ? '≈ ' : ''}${format.count(ceiling.value)}` : '–'}
      </td>
      <td class="num">{isCounted ? format.count(used) : '–'}</td>
      <td class="num">{remaining == null ? '–' : format.count(remaining)}</td>
      <td>
        {resets === undefined ? (
          '–'
        ) : (
          <time dateTime={new Date(resets).toISOString()} title={format.fullTime(resets)}>
            {resets > now ? format.ago(resets, now) : text.quotas.now}
          </time>
        )}
      </td>
    </tr>
  );
}

/** The incidents of a key within the range, each at its time. */
export function Timeline({ incidents, range, part }: { incidents: KeyIncidentsQuery['diagnoses']; range: Range; part: Part }): JSX.Element | null {
  const { text, format } = useI18n();
  const [since, until] = [diagnosedSince(range, part, serverNow()), endOf(range, serverNow())];
  const parts = timelineOf(incidents, since, until);
  if (parts.length === 0) return null;
  return (
    <Panel title={text.quotas.timeline} class="full" actions={<span class="quiet">{format.between(since, until)}</span>}>
      <ul class="timeline">
        {parts.map(({ incident, from, to }) => {
          const ended = incident.until == null ? text.incidents.ongoing : format.timeBeside(incident.until, incident.since);
          return (
            <li key={`${incident.cause} ${incident.since}`}>
              <span class="timeline-label">
                {text.incidents.causes[incident.cause]}
                <span class="quiet">
                  {format.time(incident.since)} – {ended}
                </span>
              </span>
              <span class="timeline-track" aria-hidden="true">
                <span class={`timeline-part timeline-${incident.severity}`} style={{ left: `${from * 100}%`, width: `${(to - from) * 100}%` }} />
              </span>
            </li>
          );
        })}
      </ul>
    </Panel>
  );
}
