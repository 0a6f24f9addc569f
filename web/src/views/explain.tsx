// Explains a time that the user selected in a chart: which models, codes, keys, causes and error types have a larger or smaller
// share of its calls than of the other calls of the range.
import type { JSX } from 'preact';
import { ExplainDocument, type CallFilter, type ErrorLogFilter, type ExplainQuery, type ExplainQueryVariables, type FailureClass } from '../api/gen/graphql';
import { mostDifferentFirst, sharesOf, type Share } from '../domain/explain';
import { useI18n } from '../i18n';
import { useQuery } from '../state/query';
import { rangeEnds, type Range } from '../state/range';
import { linkTo, setParams, useRoute, type Params } from '../state/router';
import { pageLimit, serverNow } from '../state/session';
import { onlyParams } from '../state/value-filter';
import { Drawer } from '../ui/drawer';
import { GraphiqlLink } from '../ui/graphiql-link';
import { AnswerView } from '../ui/state';

/** For rows without a value; no stored text has it. */
const NONE = '\u0000';
/** Values of each dimension. */
const SHOWN = 6;
const MOST = 1000;

export interface Selection {
  since: string;
  until: string;
}

/** The selection in the address. */
export function selectionOf(params: URLSearchParams): Selection | undefined {
  const [since = '', until = '', ...rest] = params.get('explain')?.split(',') ?? [];
  const isInstant = (text: string): boolean => !Number.isNaN(Date.parse(text));
  return rest.length === 0 && isInstant(since) && isInstant(until) && since < until ? { since, until } : undefined;
}

interface Value {
  /** The value of the filter. */
  value: string;
  label: string;
}

interface Dimension {
  name: 'model' | 'code' | 'key' | 'cause' | 'type';
  shares: Share<string>[];
  values: Map<string, Value>;
}

interface ExplainProps {
  selection: Selection;
  range: Range;
  /** The filters of the view, for calls and for their error logs. */
  calls: CallFilter;
  errors: ErrorLogFilter;
  /** The same in the address of the list of calls. */
  params: Params;
}

export function Explain({ selection, range, calls, errors, params }: ExplainProps): JSX.Element {
  const { text, format } = useI18n();
  const route = useRoute();
  const failedOnly = route.params.get('explained') === 'failure';
  const filter: CallFilter = failedOnly ? { ...calls, status: 'FAILURE' } : calls;
  const answer = useQuery(ExplainDocument, {
    key: JSON.stringify([selection, range, filter, errors]),
    variables: () => variablesOf(selection, range, filter, errors),
  });
  const close = (): void => setParams({ explain: undefined, explained: undefined });
  const total = answer.data?.codesInside.reduce((sum, { counts }) => sum + counts.total, 0) ?? 0;
  return (
    <Drawer title={text.explain.title(format.between(selection.since, selection.until))} onClose={close}>
      <div class="segments" role="group" aria-label={text.explain.of}>
        {([false, true] as const).map((failed) => (
          <button key={String(failed)} type="button" class="segment" aria-pressed={failedOnly === failed} onClick={() => setParams({ explained: failed ? 'failure' : undefined }, true)}>
            {failed ? text.explain.failed : text.explain.all}
          </button>
        ))}
      </div>
      <p class="legend">
        <span class="swatch swatch-inside" />
        {text.explain.inside}
        <span class="swatch swatch-outside" />
        {text.explain.outside}
      </p>
      <AnswerView answer={answer}>
        {(data) =>
          total === 0 ? (
            <p class="quiet">{text.state.noCalls}</p>
          ) : (
            <>
              {mostDifferentFirst(dimensionsOf(data, text.failures.classes)).map((dimension) => (
                <Shares key={dimension.name} dimension={dimension} selection={selection} params={failedOnly ? { ...params, status: 'failure' } : params} />
              ))}
              <div class="buttons">
                <GraphiqlLink document={ExplainDocument} variables={variablesOf(selection, range, filter, errors)} />
              </div>
            </>
          )
        }
      </AnswerView>
    </Drawer>
  );
}

function variablesOf(selection: Selection, range: Range, calls: CallFilter, errors: ErrorLogFilter): ExplainQueryVariables {
  const [start, end] = rangeEnds(range, serverNow());
  // A live range moves on: it still includes the selection.
  const between = {
    since: new Date(Math.min(start, Date.parse(selection.since))).toISOString(),
    until: new Date(Math.max(end, Date.parse(selection.until))).toISOString(),
  };
  const { since, until } = selection;
  return { inside: { since, until }, between, calls, insideErrors: { ...errors, since, until }, errors: { ...errors, ...between }, first: pageLimit(MOST) };
}

function dimensionsOf(data: ExplainQuery, classes: Record<FailureClass, string>): Dimension[] {
  const dimension = <R,>(name: Dimension['name'], inside: R[], all: R[], valueOf: (row: R) => Value | undefined, countOf: (row: R) => number): Dimension => {
    const counts = (rows: R[]): { value: string; count: number }[] => rows.map((row) => ({ value: valueOf(row)?.value ?? NONE, count: countOf(row) }));
    const values = new Map([...inside, ...all].flatMap((row) => valueOf(row) ?? []).map((value) => [value.value, value]));
    return { name, values, shares: sharesOf(counts(inside), counts(all)) };
  };
  const plain = (value: string | number | null | undefined): Value | undefined => (value == null ? undefined : { value: String(value), label: String(value) });
  const total = ({ counts }: { counts: { total: number } }): number => counts.total;
  return [
    dimension('model', data.modelsInside, data.models, ({ model }) => plain(model), total),
    dimension('code', data.codesInside, data.codes, ({ statusCode }) => plain(statusCode), total),
    dimension('key', data.keysInside, data.keys, ({ apiKey }) => (apiKey ? { value: apiKey.id, label: apiKey.masked.replace('...', '…') } : undefined), total),
    dimension('cause', data.causesInside, data.causes, ({ failureClass }) => (failureClass ? { value: failureClass, label: classes[failureClass] } : undefined), ({ count }) => count),
    dimension('type', data.typesInside, data.types, ({ errorType }) => plain(errorType), ({ count }) => count),
  ];
}

function Shares({ dimension, selection, params }: { dimension: Dimension; selection: Selection; params: Params }): JSX.Element | null {
  const { text } = useI18n();
  const { name, shares, values } = dimension;
  if (shares.length === 0) return null;
  const none = { model: text.counts.noModel, code: text.counts.noCode, key: text.counts.noKey, cause: text.failures.classes.UNKNOWN, type: text.errors.noType }[name];
  const link = (value: string): string =>
    name === 'type' || name === 'cause'
      ? linkTo('/errors', { range: undefined, ...selection, ...onlyParams(name, value) })
      : linkTo('/calls', { ...params, range: undefined, ...selection, ...onlyParams(name, value) });
  return (
    <div class="block">
      <h3>{text.explain.dimensions[name]}</h3>
      <ul class="shares">
        {shares.slice(0, SHOWN).map(({ value, inside, outside }) => {
          const known = values.get(value);
          const row = <TwinBars label={known?.label ?? none} inside={inside} outside={outside} />;
          return (
            <li key={value}>
              {known ? (
                <a data-inner class="share-row" href={link(value)}>
                  {row}
                </a>
              ) : (
                <span class="share-row quiet">{row}</span>
              )}
            </li>
          );
        })}
      </ul>
    </div>
  );
}

function TwinBars({ label, inside, outside }: { label: string; inside: number; outside: number }): JSX.Element {
  const { text, format } = useI18n();
  return (
    <>
      <bdi class="share-label">{label}</bdi>
      <span class="share-bars" aria-hidden="true">
        <span class="share-inside" style={{ width: `${inside * 100}%` }} />
        <span class="share-outside" style={{ width: `${outside * 100}%` }} />
      </span>
      <span class="share-numbers">
        <span class="visually-hidden">{text.explain.inside} </span>
        <strong>{format.percent(inside)}</strong>
        <span class="visually-hidden">, {text.explain.outside} </span>
        <span class="quiet">{format.percent(outside)}</span>
      </span>
    </>
  );
}
