// The two charts over time: calls as bars of successes and failures, latency as three lines.
import type { JSX } from 'preact';
import { useMemo, useState } from 'preact/hooks';
import uPlot from 'uplot';
import type { RangeQuery } from '../api/gen/graphql';
import { useI18n } from '../i18n';
import { setRange } from '../ui/range';
import { navigate, linkTo } from '../state/router';
import { Icon } from '../ui/icon';
import { Zone } from '../ui/zone';
import { Plot } from './plot';

export type SeriesBucket = RangeQuery['callSeries'][number];

interface ChartProps {
  buckets: SeriesBucket[];
  /** Additional filters of the list that a click opens. */
  filter?: Record<string, string>;
  height?: number;
}

/** Starts in seconds. The range cuts the first bucket; it is drawn at full width like the others. */
function starts(buckets: SeriesBucket[]): number[] {
  const all = buckets.map((bucket) => Date.parse(bucket.start) / 1000);
  const [first, second, third] = all;
  if (first !== undefined && second !== undefined && third !== undefined) all[0] = Math.min(first, 2 * second - third);
  return all;
}

function openCalls(bucket: SeriesBucket, filter: Record<string, string> | undefined): void {
  navigate(linkTo('/calls', { range: undefined, since: bucket.start, until: bucket.end, ...filter }));
}

const zoom = (since: string, until: string): void => setRange({ since, until });

export function CallsChart({ buckets, filter, height = 240 }: ChartProps): JSX.Element {
  const { text, format } = useI18n();
  const data = useMemo<uPlot.AlignedData>(
    () => [starts(buckets), buckets.map(({ counts }) => counts.total), buckets.map(({ counts }) => counts.success)],
    [buckets],
  );
  const paths = uPlot.paths.bars?.({ size: [0.84, 48, 1], align: 1 });
  const bars = (fill: uPlot.Series.Fill, stroke: string): uPlot.Series => ({
    fill,
    stroke,
    width: 0,
    points: { show: false },
    ...(paths && { paths }),
  });
  return (
    <ChartFrame
      buckets={buckets}
      legend={
        <>
          <span class="swatch swatch-good" />
          {text.counts.succeeded}
          <span class="swatch swatch-bad" />
          {text.counts.failed}
        </>
      }
      heads={[text.counts.calls, text.counts.failed]}
      cells={({ counts }) => [format.count(counts.total), format.count(counts.failure)]}
    >
      <Plot
        label={text.overview.callsOverTime}
        hint={text.overview.chartHint}
        buckets={buckets}
        data={data}
        since={starts(buckets)[0] ?? 0}
        height={height}
        // Total first, in the failure colour; successes are drawn over it.
        series={(shades) => [bars(() => shades.badFill, shades.bad), bars(shades.good, shades.good)]}
        axisValue={format.compact}
        axisTime={format.tick}
        spoken={({ start, end, counts }) =>
          `${format.between(start, end)}: ${text.counts.callsOf(counts.total, format.count(counts.total))}, ${text.counts.failedOf(counts.failure, format.count(counts.failure))}`
        }
        tooltip={({ start, end, counts }) => (
          <>
            <strong>{format.between(start, end)}</strong>
            <dl class="pairs">
              <dt>
                <span class="swatch swatch-good" />
                {text.counts.succeeded}
              </dt>
              <dd>{format.count(counts.success)}</dd>
              <dt>
                <span class="swatch swatch-bad" />
                {text.counts.failed}
              </dt>
              <dd>{format.count(counts.failure)}</dd>
              <dt>{text.counts.rate}</dt>
              <dd>{counts.total ? format.percent(counts.success / counts.total) : '–'}</dd>
            </dl>
          </>
        )}
        onZoom={zoom}
        onOpen={(bucket) => openCalls(bucket, filter)}
      />
    </ChartFrame>
  );
}

const LINES = [
  { name: 'p50', dash: [] as number[] },
  { name: 'p95', dash: [7, 3] },
  { name: 'p99', dash: [2, 3] },
] as const;

export function LatencyChart({ buckets, filter, height = 200 }: ChartProps): JSX.Element {
  const { text, format } = useI18n();
  const data = useMemo<uPlot.AlignedData>(
    () => [
      // The middle of the bucket, since a line connects points.
      buckets.map(({ start, end }) => (Date.parse(start) + Date.parse(end)) / 2000),
      ...LINES.map(({ name }) => buckets.map(({ latency }) => latency[name] ?? null)),
    ],
    [buckets],
  );
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
        onZoom={zoom}
        onOpen={(bucket) => openCalls(bucket, { ...filter, sort: 'slowest' })}
      />
    </ChartFrame>
  );
}

/** A chart with its legend, or the same data as a table. */
function ChartFrame(props: {
  buckets: SeriesBucket[];
  legend: JSX.Element | JSX.Element[];
  heads: string[];
  cells: (bucket: SeriesBucket) => string[];
  children: JSX.Element;
}): JSX.Element {
  const { text, format } = useI18n();
  const [asTable, setAsTable] = useState(false);
  return (
    <div class="charted">
      <div class="legend">
        {props.legend}
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
