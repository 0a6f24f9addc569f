// The two charts over time: calls as bars of successes and failures, latency as three lines.
import type { JSX } from 'preact';
import { useContext, useMemo, useState } from 'preact/hooks';
import uPlot from 'uplot';
import type { BucketLatencyFragment, RangeQuery } from '../api/gen/graphql';
import { useI18n } from '../i18n';
import { setRange } from '../ui/range';
import { navigate, linkTo, setParams, type Params } from '../state/router';
import { Icon } from '../ui/icon';
import { Zone } from '../ui/zone';
import { Plot, Spans, type SelectionAction } from './plot';

type CountsBucket = RangeQuery['callSeries'][number];

interface Bucket {
  start: string;
  end: string;
}

interface ChartProps<B extends Bucket> {
  buckets: B[];
  /** Additional filters of the list that a click opens. */
  filter?: Params;
  height?: number;
}

/** Starts in seconds. The range cuts the first bucket; it is drawn at full width like the others. */
export function starts(buckets: Bucket[]): number[] {
  const all = buckets.map((bucket) => Date.parse(bucket.start) / 1000);
  const [first, second, third] = all;
  if (first !== undefined && second !== undefined && third !== undefined) all[0] = Math.min(first, 2 * second - third);
  return all;
}

function openCalls(bucket: Bucket, filter: Params | undefined): void {
  navigate(linkTo('/calls', { range: undefined, since: bucket.start, until: bucket.end, ...filter }));
}

/** What the charts of a view offer for a selected time, in addition to the zoom. */
export function useSelectionActions(filter: Params | undefined, compact = false): SelectionAction[] {
  const { text } = useI18n();
  const list = (since: string, until: string): void => navigate(linkTo('/calls', { range: undefined, since, until, ...filter }));
  return [
    { label: text.explain.zoom, run: (since, until) => setRange({ since, until }) },
    { label: text.explain.explain, run: (since, until) => setParams({ explain: `${since},${until}` }) },
    // The list itself has the zoom.
    ...(compact ? [] : [{ label: text.explain.list, run: list }]),
  ];
}

export function bars(fill: uPlot.Series.Fill, stroke: string): uPlot.Series {
  const paths = uPlot.paths.bars?.({ size: [0.84, 48, 1], align: 1 });
  return { fill, stroke, width: 0, points: { show: false }, ...(paths && { paths }) };
}

interface CallsChartProps extends ChartProps<CountsBucket> {
  /** The calls of each bucket in the period before. */
  before?: (number | null)[] | undefined;
  /** Without legend and table. */
  compact?: boolean;
}

export function CallsChart({ buckets, filter, before, compact = false, height = 240 }: CallsChartProps): JSX.Element {
  const { text, format } = useI18n();
  const data = useMemo<uPlot.AlignedData>(
    () => [
      starts(buckets),
      buckets.map(({ counts }) => counts.total),
      buckets.map(({ counts }) => counts.success),
      ...(before ? [before] : []),
    ],
    [buckets, before],
  );
  const actions = useSelectionActions(filter, compact);
  const stepped = uPlot.paths.stepped?.({ align: 1 });
  const beforeOf = (bucket: CountsBucket): string => {
    const count = before?.[buckets.indexOf(bucket)];
    return count == null ? '–' : format.count(count);
  };
  return (
    <ChartFrame
      buckets={buckets}
      compact={compact}
      legend={
        <>
          <span class="swatch swatch-good" />
          {text.counts.succeeded}
          <span class="swatch swatch-bad" />
          {text.counts.failed}
          {before && (
            <>
              <span class="swatch swatch-before" />
              {text.overview.periodBefore}
            </>
          )}
        </>
      }
      heads={[text.counts.calls, text.counts.failed, ...(before ? [text.overview.periodBefore] : [])]}
      cells={(bucket) => [format.count(bucket.counts.total), format.count(bucket.counts.failure), ...(before ? [beforeOf(bucket)] : [])]}
    >
      <Plot
        // The number of series is fixed when a plot is made.
        key={String(before !== undefined)}
        label={text.overview.callsOverTime}
        hint={text.overview.chartHint}
        buckets={buckets}
        data={data}
        since={starts(buckets)[0] ?? 0}
        height={height}
        // Total first, in the failure colour; successes are drawn over it.
        series={(shades) => [
          bars(() => shades.badFill, shades.bad),
          bars(shades.good, shades.good),
          ...(before ? [{ stroke: shades.ink, width: 1.5, dash: [5, 3], points: { show: false }, ...(stepped && { paths: stepped }) }] : []),
        ]}
        axisValue={format.compact}
        axisTime={format.tick}
        spoken={({ start, end, counts }) =>
          `${format.between(start, end)}: ${text.counts.callsOf(counts.total, format.count(counts.total))}, ${text.counts.failedOf(counts.failure, format.count(counts.failure))}`
        }
        tooltip={(bucket) => (
          <>
            <strong>{format.between(bucket.start, bucket.end)}</strong>
            <dl class="pairs">
              <dt>
                <span class="swatch swatch-good" />
                {text.counts.succeeded}
              </dt>
              <dd>{format.count(bucket.counts.success)}</dd>
              <dt>
                <span class="swatch swatch-bad" />
                {text.counts.failed}
              </dt>
              <dd>{format.count(bucket.counts.failure)}</dd>
              <dt>{text.counts.rate}</dt>
              <dd>{bucket.counts.total ? format.percent(bucket.counts.success / bucket.counts.total) : '–'}</dd>
              {before && (
                <>
                  <dt>
                    <span class="swatch swatch-before" />
                    {text.overview.periodBefore}
                  </dt>
                  <dd>{beforeOf(bucket)}</dd>
                </>
              )}
            </dl>
          </>
        )}
        actions={actions}
        // A click on a segment opens its calls, a click above the bar all calls of the bucket.
        onOpen={(bucket, clicked) => {
          const { success, total } = bucket.counts;
          const status = clicked === undefined || clicked > total ? undefined : clicked > success ? 'failure' : 'success';
          openCalls(bucket, { ...filter, ...(status && { status }) });
        }}
      />
    </ChartFrame>
  );
}

const LINES = [
  { name: 'p50', dash: [] as number[] },
  { name: 'p95', dash: [7, 3] },
  { name: 'p99', dash: [2, 3] },
] as const;

export function LatencyChart({ buckets, filter, height = 200 }: ChartProps<BucketLatencyFragment>): JSX.Element {
  const { text, format } = useI18n();
  const data = useMemo<uPlot.AlignedData>(
    () => [
      // The middle of the bucket, since a line connects points.
      buckets.map(({ start, end }) => (Date.parse(start) + Date.parse(end)) / 2000),
      ...LINES.map(({ name }) => buckets.map(({ latency }) => latency[name] ?? null)),
    ],
    [buckets],
  );
  const actions = useSelectionActions(filter);
  const value = (ms: number | null | undefined): string => (ms == null ? '–' : format.latency(ms));
  return (
    <ChartFrame
      buckets={buckets}
      legend={LINES.map(({ name }, index) => (
        <>
          <span class={`swatch swatch-line swatch-line-${index + 1}`} />
          {name}
        </>
      ))}
      heads={LINES.map(({ name }) => name)}
      cells={({ latency }) => LINES.map(({ name }) => value(latency[name]))}
    >
      <Plot
        label={text.overview.latencyOverTime}
        hint={text.overview.chartHint}
        buckets={buckets}
        data={data}
        since={starts(buckets)[0] ?? 0}
        height={height}
        series={(shades) =>
          LINES.map(({ dash }, index) => ({
            stroke: shades.series[index] ?? shades.ink,
            width: 1.75,
            dash: [...dash],
            points: { show: false },
            spanGaps: false,
          }))
        }
        axisValue={format.latency}
        axisTime={format.tick}
        spoken={({ start, end, latency }) =>
          `${format.between(start, end)}: ${LINES.map(({ name }) => `${name} ${value(latency[name])}`).join(', ')}`
        }
        tooltip={({ start, end, latency }) => (
          <>
            <strong>{format.between(start, end)}</strong>
            <dl class="pairs">
              {LINES.map(({ name }, index) => (
                <>
                  <dt>
                    <span class={`swatch swatch-line swatch-line-${index + 1}`} />
                    {name}
                  </dt>
                  <dd>{value(latency[name])}</dd>
                </>
              ))}
            </dl>
          </>
        )}
        actions={actions}
        onOpen={(bucket) => openCalls(bucket, { ...filter, sort: 'slowest' })}
      />
    </ChartFrame>
  );
}

/** A chart with its legend, or the same data as a table. */
export function ChartFrame<B extends Bucket>(props: {
  buckets: B[];
  legend: JSX.Element | JSX.Element[];
  heads: string[];
  cells: (bucket: B) => string[];
  compact?: boolean;
  children: JSX.Element;
}): JSX.Element {
  const { text, format } = useI18n();
  const [asTable, setAsTable] = useState(false);
  const hasSpans = useContext(Spans).length > 0;
  if (props.compact) return <div class="charted">{props.children}</div>;
  return (
    <div class="charted">
      <div class="legend">
        {props.legend}
        {/* Its space is there before the incidents are. */}
        <span class="legend-incident" data-empty={!hasSpans || undefined}>
          <span class="swatch swatch-incident" />
          {text.incidents.incident}
        </span>
        <Zone />
        <button type="button" class="button bare" aria-pressed={asTable} title={asTable ? text.overview.asChart : text.overview.asTable} aria-label={text.overview.asTable} onClick={() => setAsTable(!asTable)}>
          <Icon name="table" />
        </button>
      </div>
      {asTable ? (
        <div class="table-box short" tabIndex={0} role="region" aria-label={text.overview.asTable}>
          <table class="table">
            <thead>
              <tr>
                <th scope="col">{text.overview.start}</th>
                {props.heads.map((head) => (
                  <th key={head} scope="col" class="num">
                    {head}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {props.buckets.map((bucket) => (
                <tr key={bucket.start}>
                  <th scope="row">{format.time(bucket.start)}</th>
                  {props.cells(bucket).map((cell, index) => (
                    <td key={index} class="num">
                      {cell}
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      ) : (
        props.children
      )}
    </div>
  );
}
