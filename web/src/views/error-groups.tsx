// Error groups as issues, by cause and form of the message: their count, development, keys and models, first and last
// time; and the filters of error logs.
import type { JSX } from 'preact';
import { useMemo } from 'preact/hooks';
import type { ErrorGroupsQuery, FirstErrorsQuery } from '../api/gen/graphql';
import { groupName, typesOf, type Facets, type Issues } from '../domain/issues';
import { firstLine } from '../domain/provider';
import { useI18n } from '../i18n';
import { mutedGroups, setMuted } from '../state/local';
import { setParams, useRoute } from '../state/router';
import { serverNow } from '../state/session';
import { useStore } from '../state/store';
import type { ErrorCriteria } from '../state/error-filter';
import { MultiSelect } from '../ui/multi-select';
import { Icon } from '../ui/icon';
import { CodeMark } from '../ui/marks';
import { Spark } from '../ui/spark';

type Group = ErrorGroupsQuery['groups'][number];

interface GroupsProps {
  groups: Group[];
  /** The groups, also by type. */
  types: ErrorGroupsQuery['types'];
  /** The first error log of each group, however old; the range has only later ones until it is loaded. */
  firsts: FirstErrorsQuery | undefined;
  /** The start of the range in milliseconds. */
  since: number;
  criteria: ErrorCriteria;
  issues: Issues | undefined;
}

export function Groups({ groups, criteria, issues, ...props }: GroupsProps): JSX.Element {
  const { text, format } = useI18n();
  const { params } = useRoute();
  const muted = new Set(useStore(mutedGroups));
  const now = serverNow();
  const firsts = new Map(props.firsts?.errorGroups.map((group) => [groupName(group), group.firstSeenAt]));
  const types = useMemo(() => typesOf(props.types), [props.types]);
  const showsMuted = params.get('muted') === '1';
  const hidden = groups.filter((group) => muted.has(groupName(group))).length;
  const shown = showsMuted ? groups : groups.filter((group) => !muted.has(groupName(group)));
  return (
    <section class="groups" aria-label={text.errors.groups} tabIndex={0}>
      {hidden > 0 && (
        <p class="groups-muted">
          {text.errors.muted(hidden, format.count(hidden))}
          <button type="button" class="button small" aria-pressed={showsMuted} onClick={() => setParams({ muted: showsMuted ? undefined : '1' })}>
            {showsMuted ? text.errors.hideMuted : text.errors.showMuted}
          </button>
        </p>
      )}
      <table class="table">
        <caption class="visually-hidden">{text.errors.groups}</caption>
        <thead>
          <tr>
            <th scope="col" class="col-group">
              {text.failures.cause}
            </th>
            <th scope="col" class="col-message" title={text.errors.formHint}>
              {text.errors.form}
            </th>
            <th scope="col" class="col-code">
              {text.errors.code}
            </th>
            <th scope="col" class="col-type">
              {text.errors.type}
            </th>
            <th scope="col" class="num col-count">
              {text.errors.count}
            </th>
            <th scope="col" class="col-trend">
              {text.keys.trend}
            </th>
            <th scope="col" class="num col-affected">
              {text.app.keys}
            </th>
            <th scope="col" class="num col-affected">
              {text.overview.models}
            </th>
            <th scope="col" class="col-seen col-first-seen">
              {text.errors.first}
            </th>
            <th scope="col" class="col-seen">
              {text.errors.last}
            </th>
            <th scope="col" class="col-mute">
              <span class="visually-hidden">{text.errors.mute}</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {shown.map((group) => {
            const { failureClass, messageTemplate, latest } = group;
            const name = groupName(group);
            const issue = issues?.of.get(name);
            const form = messageTemplate?.id;
            const chosen = form !== undefined && criteria.forms.includes(form) && criteria.causes.some((cause) => cause === failureClass);
            const choose = (): void => setParams(chosen ? { cause: undefined, form: undefined } : { cause: failureClass ?? undefined, form });
            const [type, ...others] = types.get(name) ?? [];
            return (
              <tr
                key={name}
                data-opened={chosen || undefined}
                data-muted={muted.has(name) || undefined}
                onClick={(event) => {
                  if (!(event.target instanceof Element && event.target.closest('button'))) choose();
                }}
              >
                <td class="col-group">
                  <button type="button" class="text-button" aria-pressed={chosen} onClick={choose}>
                    {text.failures.classes[failureClass ?? 'UNKNOWN']}
                  </button>
                </td>
                <td class="col-message" title={firstLine(latest.message)}>
                  <bdi>{messageTemplate?.text || '–'}</bdi>
                </td>
                <td class="col-code">
                  <CodeMark code={latest.errorCode} />
                </td>
                <td class="col-type" title={[type, ...others].join(', ')}>
                  {type !== undefined ? <bdi>{type}</bdi> : <span class="quiet">{text.errors.noType}</span>}
                  {others.length > 0 && <span class="quiet"> {text.errors.andMore(format.count(others.length))}</span>}
                </td>
                <td class="num col-count">{format.count(group.count)}</td>
                <td class="col-trend">{issue && <Spark parts={issue.parts.map((count) => ({ total: count, failure: count }))} label={text.errors.sparkOf(issue.parts.map(format.count).join(', '))} />}</td>
                <td class="num col-affected">{affected(issue?.keys, issues?.areKeysCut, format.count)}</td>
                <td class="num col-affected">{affected(issue?.models, issues?.areModelsCut, format.count)}</td>
                <td class="col-seen col-first-seen">
                  <FirstSeen at={firsts.get(name)} since={props.since} now={now} />
                </td>
                <td class="col-seen">
                  <time dateTime={group.lastSeenAt} title={format.fullTime(group.lastSeenAt)}>
                    {format.ago(group.lastSeenAt, now)}
                  </time>
                </td>
                <td class="col-mute">
                  <MuteButton name={name} isMuted={muted.has(name)} />
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </section>
  );
}

/** A number, or the least that it can be. */
const affected = (count: number | undefined, isCut: boolean | undefined, format: (count: number) => string): string =>
  count === undefined ? '–' : isCut ? `≥ ${format(count)}` : format(count);

/** Hides a group in this browser. */
function MuteButton({ name, isMuted }: { name: string; isMuted: boolean }): JSX.Element {
  const { text } = useI18n();
  const label = isMuted ? text.errors.unmute : text.errors.mute;
  return (
    <button type="button" class="cell-action" aria-label={label} title={label} aria-pressed={isMuted} onClick={() => setMuted(name, !isMuted)}>
      <Icon name="mute" />
    </button>
  );
}

/** The time of the first error log, marked if the range includes it. */
function FirstSeen({ at, since, now }: { at: string | undefined; since: number; now: number }): JSX.Element {
  const { text, format } = useI18n();
  if (at === undefined) return <>–</>;
  return (
    <>
      <time dateTime={at} title={format.fullTime(at)}>
        {format.ago(at, now)}
      </time>
      {Date.parse(at) >= since && (
        <span class="new" title={text.errors.newHint}>
          {text.errors.new}
        </span>
      )}
    </>
  );
}

export function ErrorFilters({ facets, criteria }: { facets: Facets; criteria: ErrorCriteria }): JSX.Element {
  const { text } = useI18n();
  return (
    <>
      <MultiSelect
        label={text.failures.cause}
        any={text.calls.all}
        options={(facets.causes ?? []).flatMap(({ failureClass, count }) =>
          failureClass == null ? [] : [{ value: failureClass, label: text.failures.classes[failureClass], count }],
        )}
        chosen={criteria.causes}
        onChange={(cause) => setParams({ cause })}
      />
      <MultiSelect
        label={text.errors.type}
        any={text.calls.all}
        options={(facets.types ?? []).flatMap(({ errorType, count }) =>
          errorType == null ? [] : [{ value: errorType, label: errorType, count }],
        )}
        chosen={criteria.types}
        onChange={(type) => setParams({ type })}
      />
      <MultiSelect
        label={text.errors.code}
        any={text.calls.all}
        options={(facets.codes ?? []).flatMap(({ errorCode, count }) =>
          errorCode == null ? [] : [{ value: String(errorCode), label: String(errorCode), count }],
        )}
        chosen={criteria.codes}
        onChange={(code) => setParams({ code })}
      />
      <MultiSelect
        label={text.calls.model}
        any={text.calls.all}
        options={(facets.models ?? []).flatMap(({ model, count }) => (model == null ? [] : [{ value: model, label: model, count }]))}
        chosen={criteria.models}
        onChange={(model) => setParams({ model })}
      />
      <MultiSelect
        label={text.calls.key}
        any={text.calls.all}
        options={(facets.keys ?? []).flatMap(({ apiKey, count }) => (apiKey ? [{ value: apiKey.id, label: apiKey.masked, count }] : []))}
        chosen={criteria.keys}
        onChange={(key) => setParams({ key })}
      />
    </>
  );
}
