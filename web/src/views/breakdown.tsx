// Calls by status code and by model.
import type { JSX } from 'preact';
import type { ModelLatencyFragment, RangeQuery } from '../api/gen/graphql';
import type { ModelState } from '../domain/incident';
import { useI18n } from '../i18n';
import { navigate, type Params } from '../state/router';
import { Cell, CellActions } from '../ui/cell';
import { Meter, StateTag, StatusMark } from '../ui/marks';
import { Empty } from '../ui/state';

export function Codes(props: { groups: RangeQuery['byCode']; link: (params: Params) => string }): JSX.Element {
  const { text, format } = useI18n();
  const { groups } = props;
  const all = groups.reduce((sum, { counts }) => sum + counts.total, 0);
  const most = Math.max(...groups.map(({ counts }) => counts.total), 1);
  if (groups.length === 0) return <Empty icon="calls" title={text.state.noCalls} />;
  return (
    <ul class="bars">
      {groups.map(({ statusCode, counts }) => {
        const good = counts.failure === 0;
        return (
          <li key={statusCode ?? 'none'} class="cell bar-cell">
            {/* The API has no filter for calls without a status code: list all failures. */}
            <a data-inner class="bar-row" href={props.link(statusCode == null ? { status: 'failure' } : { code: String(statusCode) })}>
              <StatusMark status={good ? 'SUCCESS' : 'FAILURE'} code={statusCode} />
              <span class="bar-track" aria-hidden="true">
                <span class={good ? 'bar-good' : 'bar-bad'} style={{ width: `${Math.max((counts.total / most) * 100, 0.8)}%` }} />
              </span>
              <span class="num">{format.count(counts.total)}</span>
              <span class="num quiet">{format.percent(counts.total / all)}</span>
            </a>
            {statusCode != null && (
              <CellActions filter={{ name: 'code', value: String(statusCode) }} copy={String(statusCode)} to={(change) => navigate(props.link(change))} />
            )}
          </li>
        );
      })}
    </ul>
  );
}

export function Models(props: {
  groups: Pick<RangeQuery['byModel'][number], 'model' | 'counts'>[];
  /** Undefined until they are loaded. */
  latencies: readonly ModelLatencyFragment[] | undefined;
  link: (params: Params) => string;
  stateOf: (model: string) => ModelState;
}): JSX.Element {
  const { text, format } = useI18n();
  const { groups } = props;
  const latencies = new Map(props.latencies?.map(({ model, latency }) => [model, latency]));
  const ms = (value: number | null | undefined): string => (value == null ? '–' : format.latency(value));
  const most = Math.max(...groups.map(({ counts }) => counts.total), 1);
  if (groups.length === 0) return <Empty icon="calls" title={text.state.noCalls} />;
  return (
    <div class="table-box fit">
      <table class="table plain">
        <thead>
          <tr>
            <th scope="col" class="col-name">
              {text.overview.model}
            </th>
            <th scope="col" class="col-bar">
              <span class="visually-hidden">{text.overview.share}</span>
            </th>
            <th scope="col" class="num">
              {text.counts.calls}
            </th>
            <th scope="col" class="num">
              {text.counts.failed}
            </th>
            <th scope="col" class="num">
              {text.counts.rate}
            </th>
            <th scope="col" class="num col-wide">
              p50
            </th>
            <th scope="col" class="num">
              p95
            </th>
          </tr>
        </thead>
        <tbody>
          {groups.map(({ model, counts }) => (
            <tr key={model ?? ''}>
              <th scope="row" class="col-name">
                {model == null ? (
                  <span class="quiet">{text.counts.noModel}</span>
                ) : (
                  <ModelName model={model} link={props.link} state={props.stateOf(model)} />
                )}
              </th>
              <td class="col-bar">
                <span class="scaled" style={{ width: `${Math.max((counts.total / most) * 100, 1)}%` }}>
                  <Meter success={counts.success} failure={counts.failure} />
                </span>
              </td>
              <td class="num">{format.count(counts.total)}</td>
              <td class="num">{format.count(counts.failure)}</td>
              <td class="num">{counts.successRate == null ? '–' : format.percent(counts.successRate)}</td>
              <td class="num col-wide">{ms(latencies.get(model)?.p50)}</td>
              <td class="num">{ms(latencies.get(model)?.p95)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function ModelName({ model, link, state }: { model: string; link: (params: Params) => string; state: ModelState }): JSX.Element {
  const { text } = useI18n();
  return (
    <Cell filter={{ name: 'model', value: model }} copy={model} to={(change) => navigate(link(change))}>
      <a data-inner class="clip" href={link({ model })}>
        {model}
      </a>
      {state.state !== 'unknown' && <StateTag state={state.state} title={state.sentence} name={state.state === 'likePool' ? text.overview.likeModels : undefined} />}
    </Cell>
  );
}
