// Calls over time as bars of parts: classes of status codes, models or keys; and error logs by cause.
import type { JSX } from 'preact';
import { useMemo } from 'preact/hooks';
import uPlot from 'uplot';
import { CauseStackDocument, StackDocument, TopCausesDocument, TopKeysDocument, type RangeQuery, type StackQueryVariables } from '../api/gen/graphql';
import { causeParts, classParts, keyParts, modelParts, MOST_PARTS, partAt, type CallPart, type Part, type StackBy } from '../domain/stack';
import { useI18n } from '../i18n';
import { timeZone } from '../i18n/format';
import { useQuery } from '../state/query';
import { between, isLive, rangeArguments, type Range } from '../state/range';
import { linkTo, navigate } from '../state/router';
import { serverNow } from '../state/session';
import { AnswerView, Empty, Skeleton } from '../ui/state';
import { partFill } from './colours';
import { bars, ChartFrame, starts, useSelectionActions } from './series';
import { Plot } from './plot';

const RENEW_MS = 15_000;
const NO_CALLS = { statusCodes: [] };

interface StackProps {
  range: Range;
  interval: string | null;
}

interface CallStackProps extends StackProps {
  by: Exclude<StackBy, 'cause'>;
  /** The groups of the same range. */
  groups: Pick<RangeQuery, 'byCode' | 'byModel'>;
}

export function StackChart({ by, range, interval, groups }: CallStackProps): JSX.Element {
  const { text } = useI18n();
  const rangeKey = JSON.stringify(range);
  const top = useQuery(TopKeysDocument, {
    key: by === 'key' ? rangeKey : undefined,
    variables: () => ({ ...rangeArguments(range, serverNow()), timeZone, first: MOST_PARTS }),
  });
  const codes = groups.byCode.flatMap(({ statusCode }) => statusCode ?? []).toSorted((a, b) => a - b);
  const models = groups.byModel.flatMap(({ model }) => model ?? []).slice(0, MOST_PARTS);
  const keys = top.stale ? undefined : top.data?.callGroups.flatMap(({ apiKey }) => apiKey ?? []);
  const parts = useMemo(
    () => (by === 'class' ? classParts(codes) : by === 'model' ? modelParts(models) : keys && keyParts(keys)),
    [by, JSON.stringify(codes), JSON.stringify(models), keys],
  );
  const answer = useQuery(StackDocument, {
    key: parts && parts.length > 0 ? JSON.stringify([range, interval, parts.map(({ filter }) => filter)]) : undefined,
    variables: () => ({ between: between(range, serverNow()), interval, timeZone, ...filtersOf(parts ?? []) }),
    everyMs: isLive(range) ? RENEW_MS : undefined,
  });
  if (parts?.length === 0) return <Empty icon="calls" title={text.overview.nothingToStack} />;
  if (top.error && !keys) return <AnswerView answer={top}>{() => null}</AnswerView>;
  return (
    <AnswerView answer={answer} waiting={<Skeleton class="chart" />}>
      {({ all, s0, s1, s2, s3, s4 }) => {
        const series = [s0, s1, s2, s3, s4].slice(0, parts?.length ?? 0);
        const buckets = all.map(({ start, end, counts }, index) => bucketOf(start, end, counts.total, series.map((one) => one?.[index]?.counts.total ?? 0)));
        return <Stacked buckets={buckets} parts={parts ?? []} path="/calls" of={text.counts.calls} title={text.overview.callsOverTime} />;
      }}
    </AnswerView>
  );
}

/** The error logs by cause, the most frequent causes of the range. */
export function CauseChart({ range, interval }: StackProps): JSX.Element {
  const { text } = useI18n();
  const top = useQuery(TopCausesDocument, { key: JSON.stringify(range), variables: () => ({ filter: between(range, serverNow()), first: MOST_PARTS }) });
  const classes = top.stale ? undefined : top.data?.errorGroups.flatMap(({ failureClass }) => failureClass ?? []);
  const parts = useMemo(() => classes && causeParts(classes, text.failures.classes), [JSON.stringify(classes), text]);
  const answer = useQuery(CauseStackDocument, {
    key: parts && parts.length > 0 ? JSON.stringify([range, interval, parts.map(({ name }) => name)]) : undefined,
    variables: () => {
      // No error log matches an empty list.
      const of = (index: number) => parts?.slice(index, index + 1).map(({ name }) => name) ?? [];
      return { between: between(range, serverNow()), interval, timeZone, c0: of(0), c1: of(1), c2: of(2), c3: of(3), c4: of(4) };
    },
    everyMs: isLive(range) ? RENEW_MS : undefined,
  });
  if (parts?.length === 0) return <Empty icon="errors" title={text.errors.none} />;
  if (top.error && !parts) return <AnswerView answer={top}>{() => null}</AnswerView>;
  return (
    <AnswerView answer={answer} waiting={<Skeleton class="chart" />}>
      {({ all, s0, s1, s2, s3, s4 }) => {
        const series = [s0, s1, s2, s3, s4].slice(0, parts?.length ?? 0);
        const buckets = all.map(({ start, end, count }, index) => bucketOf(start, end, count, series.map((one) => one[index]?.count ?? 0)));
        return <Stacked buckets={buckets} parts={parts ?? []} path="/errors" of={text.app.errors} title={text.overview.errorsOverTime} />;
      }}
    </AnswerView>
  );
}

function bucketOf(start: string, end: string, total: number, parts: number[]): StackBucket {
  const rest = Math.max(0, total - parts.reduce((sum, count) => sum + count, 0));
  return { start, end, total, counts: [...parts, rest] };
}

type Filters = Omit<StackQueryVariables, 'between' | 'interval' | 'timeZone'>;

function filtersOf(parts: CallPart[]): Filters {
  const filter = (index: number) => parts[index]?.filter ?? NO_CALLS;
  const has = (index: number): boolean => index < parts.length;
  return { f0: filter(0), f1: filter(1), h1: has(1), f2: filter(2), h2: has(2), f3: filter(3), h3: has(3), f4: filter(4), h4: has(4) };
}

interface StackBucket {
  start: string;
  end: string;
  total: number;
  /** The rows of each part, and of the rest. */
  counts: number[];
}

interface StackedProps {
  buckets: StackBucket[];
  parts: Part[];
  /** The list that a click opens, and the name of its rows. */
  path: '/calls' | '/errors';
  of: string;
  title: string;
}

function Stacked({ buckets, parts, path, of, title }: StackedProps): JSX.Element {
  const { text, format } = useI18n();
  const actions = useSelectionActions(undefined);
  const names = [...parts.map(({ label }) => label), text.overview.rest];
  const hasRest = buckets.some(({ counts }) => (counts.at(-1) ?? 0) > 0);
  const shown = hasRest ? names : names.slice(0, -1);
  const swatch = (index: number): string => `swatch swatch-part-${parts[index]?.colour ?? 'rest'}`;
  // The highest sum first: each series is drawn over the previous one.
  const order = shown.map((_, index) => index).reverse();
  const data = useMemo<uPlot.AlignedData>(() => {
    const sum = ({ counts }: StackBucket, last: number): number => counts.slice(0, last + 1).reduce((all, count) => all + count, 0);
    return [starts(buckets), ...order.map((last) => buckets.map((bucket) => sum(bucket, last)))];
  }, [buckets, shown.length]);
  const open = (bucket: StackBucket, part: number | 'rest' | undefined): void =>
    navigate(linkTo(path, { range: undefined, since: bucket.start, until: bucket.end, ...(typeof part === 'number' && parts[part]?.params) }));
  return (
    <ChartFrame
      buckets={buckets}
      legend={shown.map((name, index) => (
        <span key={name} class="legend-part">
          <span class={swatch(index)} />
          <bdi>{name}</bdi>
        </span>
      ))}
      heads={shown}
      cells={({ counts }) => shown.map((_, index) => format.count(counts[index] ?? 0))}
    >
      <Plot
        // The number of series is fixed when a plot is made.
        key={JSON.stringify([shown, parts.map(({ colour }) => colour)])}
        label={title}
        hint={text.overview.chartHint}
        buckets={buckets}
        data={data}
        since={starts(buckets)[0] ?? 0}
        height={240}
        series={(shades) => order.map((index) => bars(partFill(parts[index]?.colour), shades.line))}
        axisValue={format.compact}
        axisTime={format.tick}
        spoken={({ start, end, counts }) => `${format.between(start, end)}: ${shown.map((name, index) => `${name} ${format.count(counts[index] ?? 0)}`).join(', ')}`}
        tooltip={({ start, end, total, counts }) => (
          <>
            <strong>{format.between(start, end)}</strong>
            <dl class="pairs">
              {order.map((index) => (
                <>
                  <dt>
                    <span class={swatch(index)} />
                    <bdi>{names[index]}</bdi>
                  </dt>
                  <dd>{format.count(counts[index] ?? 0)}</dd>
                </>
              ))}
              <dt>{of}</dt>
              <dd>{format.count(total)}</dd>
            </dl>
          </>
        )}
        actions={actions}
        onOpen={(bucket, height) => open(bucket, height === undefined ? undefined : partAt(bucket.counts, height))}
      />
    </ChartFrame>
  );
}
