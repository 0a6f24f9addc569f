// The filters of the calls. The options are the values that occur in the range, with the other filters.
import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { CallFacetsDocument } from '../api/gen/graphql';
import { useI18n } from '../i18n';
import { timeZone } from '../i18n/format';
import { callFilter, errorParams, SORTS, type CallCriteria } from '../state/call-filter';
import { useQuery } from '../state/query';
import { rangeArguments, type Range } from '../state/range';
import { linkTo, setParams, useRoute } from '../state/router';
import { pageLimit, serverNow } from '../state/session';
import { MultiSelect } from '../ui/multi-select';
import { Exclusions } from '../ui/exclusions';
import { Filters } from '../ui/filters';
import { KeySearch } from '../ui/search';

export function CallFilters(props: { range: Range; criteria: CallCriteria; children: ComponentChildren }): JSX.Element {
  const { text } = useI18n();
  const { range, criteria } = props;
  const { params } = useRoute();
  const answer = useQuery(CallFacetsDocument, {
    key: JSON.stringify([range, callFilter(criteria)]),
    variables: () => ({
      ...rangeArguments(range, serverNow()),
      timeZone,
      first: pageLimit(1000),
      ofCodes: callFilter({ ...criteria, codes: [], notCodes: [] }),
      ofModels: callFilter({ ...criteria, models: [], notModels: [] }),
      ofKeys: callFilter({ ...criteria, keys: [], notKeys: [] }),
    }),
  });
  // Counts of another range would be wrong.
  const facets = answer.stale ? undefined : answer.data;
  const masked = new Map(facets?.keys.flatMap(({ apiKey }) => (apiKey ? [[apiKey.id, apiKey.masked.replace('...', '…')] as const] : [])));
  return (
    <>
      <Filters active={Object.keys(callFilter(criteria)).length} end={props.children}>
        <div class="segments" role="group" aria-label={text.calls.status}>
          {([undefined, 'success', 'failure'] as const).map((status) => (
            <button key={status ?? 'all'} type="button" class="segment" aria-pressed={criteria.status === status} onClick={() => setParams({ status })}>
              {status === undefined ? text.calls.all : status === 'success' ? text.counts.succeeded : text.counts.failed}
            </button>
          ))}
        </div>
        <MultiSelect
          label={text.calls.code}
          any={text.calls.all}
          options={(facets?.codes ?? []).flatMap(({ statusCode, counts }) =>
            statusCode == null ? [] : [{ value: String(statusCode), label: String(statusCode), count: counts.total }],
          )}
          chosen={criteria.codes}
          onChange={(code) => setParams({ code })}
        />
        <MultiSelect
          label={text.calls.model}
          any={text.calls.all}
          options={(facets?.models ?? []).flatMap(({ model, counts }) =>
            model == null ? [] : [{ value: model, label: model, count: counts.total }],
          )}
          chosen={criteria.models}
          onChange={(model) => setParams({ model })}
        />
        <MultiSelect
          label={text.calls.key}
          any={text.calls.all}
          options={(facets?.keys ?? []).flatMap(({ apiKey, counts }) =>
            apiKey ? [{ value: apiKey.id, label: apiKey.masked, count: counts.total }] : [],
          )}
          chosen={criteria.keys}
          onChange={(key) => setParams({ key })}
        />
        <KeySearch label={text.calls.findKey} messages={(text) => linkTo('/errors', { ...errorParams(params), q: text })} />
        <NumberFilter label={text.calls.min} name="min" value={criteria.min} />
        <NumberFilter label={text.calls.max} name="max" value={criteria.max} />
        <label class="inline">
          <span class="visually-hidden">{text.calls.order}</span>
          <select class="input" value={criteria.sort} onChange={(event) => setParams({ sort: event.currentTarget.value === 'newest' ? undefined : event.currentTarget.value })}>
            {SORTS.map((sort) => (
              <option key={sort} value={sort}>
                {text.calls.orders[sort]}
              </option>
            ))}
          </select>
        </label>
      </Filters>
      <Exclusions
        fields={[
          { name: 'code', label: text.calls.code },
          { name: 'model', label: text.calls.model },
          { name: 'key', label: text.calls.key, of: (id) => masked.get(id) },
        ]}
      />
    </>
  );
}

/** Applies on blur or Enter, not on each digit. */
function NumberFilter(props: { label: string; name: string; value: number | undefined }): JSX.Element {
  const shown = props.value === undefined ? '' : String(props.value);
  const [typed, setTyped] = useState(shown);
  useEffect(() => setTyped(shown), [shown]);
  const apply = (): void => setParams({ [props.name]: /^\d{1,9}$/.test(typed.trim()) ? typed.trim() : undefined });
  return (
    <input
      class="input"
      inputMode="numeric"
      placeholder={props.label}
      aria-label={props.label}
      value={typed}
      onInput={(event) => setTyped(event.currentTarget.value)}
      onBlur={apply}
      onKeyDown={(event) => {
        if (event.key === 'Enter') apply();
      }}
    />
  );
}
