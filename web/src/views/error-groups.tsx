// Error groups with their count, first and last time and latest message; and the filters of error logs.
import type { JSX } from 'preact';
import type { ErrorFacetsQuery, ErrorGroupsQuery, FirstErrorsQuery } from '../api/gen/graphql';
import { firstLine } from '../domain/provider';
import { useI18n } from '../i18n';
import { setParams } from '../state/router';
import { serverNow } from '../state/session';
import type { ErrorCriteria } from '../state/error-filter';
import { MultiSelect } from '../ui/multi-select';
import { CodeMark } from '../ui/marks';

type Group = ErrorGroupsQuery['groups'][number];

export function Groups(props: {
  groups: Group[];
  /** The first error log of each group, however old; the range has only later ones until it is loaded. */
  firsts: FirstErrorsQuery | undefined;
  /** The start of the range in milliseconds. */
  since: number;
  criteria: ErrorCriteria;
}): JSX.Element {
  const { text, format } = useI18n();
  const { groups, criteria } = props;
  const now = serverNow();
  const name = ({ errorType, errorCode }: Pick<Group, 'errorType' | 'errorCode'>): string => JSON.stringify([errorType, errorCode]);
  const firsts = new Map(props.firsts?.errorGroups.map((group) => [name(group), group.firstSeenAt]));
  return (
    <section class="groups" aria-label={text.errors.groups} tabIndex={0}>
      <table class="table">
        <caption class="visually-hidden">{text.errors.groups}</caption>
        <thead>
          <tr>
            <th scope="col" class="col-group">
              {text.errors.type}
            </th>
            <th scope="col" class="col-code">
              {text.errors.code}
            </th>
            <th scope="col" class="num col-count">
              {text.errors.count}
            </th>
            <th scope="col" class="col-seen col-first-seen">
              {text.errors.first}
            </th>
            <th scope="col" class="col-seen">
              {text.errors.last}
            </th>
            <th scope="col" class="col-message">
              {text.errors.latest}
            </th>
          </tr>
        </thead>
        <tbody>
          {groups.map((group) => {
            const { errorType, errorCode } = group;
            const chosen =
              criteria.types.includes(errorType ?? '') &&
              (errorCode == null ? criteria.codes.length === 0 : criteria.codes.includes(String(errorCode)));
            const choose = (): void =>
              setParams(
                chosen
                  ? { type: undefined, code: undefined }
                  : { type: errorType ?? undefined, code: errorCode == null ? undefined : String(errorCode) },
              );
            return (
              <tr key={`${errorType ?? ''} ${errorCode ?? ''}`} data-opened={chosen || undefined} onClick={choose}>
                <td class="col-group">
                  <button
                    type="button"
                    class="text-button"
                    aria-pressed={chosen}
                    onClick={(event) => {
                      event.stopPropagation();
                      choose();
                    }}
                  >
                    {errorType ?? text.errors.noType}
                  </button>
                </td>
                <td class="col-code">
                  <CodeMark code={errorCode} />
                </td>
                <td class="num col-count">{format.count(group.count)}</td>
                <td class="col-seen col-first-seen">
                  <FirstSeen at={firsts.get(name(group))} since={props.since} now={now} />
                </td>
                <td class="col-seen">
                  <time dateTime={group.lastSeenAt} title={format.fullTime(group.lastSeenAt)}>
                    {format.ago(group.lastSeenAt, now)}
                  </time>
                </td>
                <td class="col-message" title={firstLine(group.latest.message)}>
                  {firstLine(group.latest.message)}
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </section>
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

export function ErrorFilters({ facets, criteria }: { facets: ErrorFacetsQuery | undefined; criteria: ErrorCriteria }): JSX.Element {
  const { text } = useI18n();
  return (
    <>
      <MultiSelect
        label={text.errors.type}
        any={text.calls.all}
        options={(facets?.types ?? []).flatMap(({ errorType, count }) =>
          errorType == null ? [] : [{ value: errorType, label: errorType, count }],
        )}
        chosen={criteria.types}
        onChange={(type) => setParams({ type })}
      />
      <MultiSelect
        label={text.errors.code}
        any={text.calls.all}
        options={(facets?.codes ?? []).flatMap(({ errorCode, count }) =>
          errorCode == null ? [] : [{ value: String(errorCode), label: String(errorCode), count }],
        )}
        chosen={criteria.codes}
        onChange={(code) => setParams({ code })}
      />
      <MultiSelect
        label={text.calls.model}
        any={text.calls.all}
        options={(facets?.models ?? []).flatMap(({ model, count }) => (model == null ? [] : [{ value: model, label: model, count }]))}
        chosen={criteria.models}
        onChange={(model) => setParams({ model })}
      />
      <MultiSelect
        label={text.calls.key}
        any={text.calls.all}
        options={(facets?.keys ?? []).flatMap(({ apiKey, count }) => (apiKey ? [{ value: apiKey.id, label: apiKey.masked, count }] : []))}
        chosen={criteria.keys}
        onChange={(key) => setParams({ key })}
      />
    </>
  );
}
