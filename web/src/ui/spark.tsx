// Sparkline: the calls of each twelfth of a range, failures on top.
import type { JSX } from 'preact';
import { useI18n } from '../i18n';

export interface SparkPart {
  total: number;
  failure: number;
}

const WIDTH = 100;
const HEIGHT = 24;

export function Spark({ parts, label }: { parts: SparkPart[]; label?: string }): JSX.Element {
  const { text, format } = useI18n();
  const most = Math.max(...parts.map(({ total }) => total), 1);
  const sum = (pick: (part: SparkPart) => number): string => format.count(parts.reduce((all, part) => all + pick(part), 0));
  const step = WIDTH / parts.length;
  const height = (count: number): number => (count ? Math.max((count / most) * (HEIGHT - 2), 1) : 0);
  return (
    <svg
      class="spark"
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      preserveAspectRatio="none"
      role="img"
      aria-label={label ?? text.keys.sparkOf(sum(({ total }) => total), sum(({ failure }) => failure))}
    >
      <line x1="0" x2={WIDTH} y1={HEIGHT - 0.5} y2={HEIGHT - 0.5} class="spark-base" />
      {parts.map(({ total, failure }, index) => {
        const good = height(total - failure);
        const bad = height(failure);
        const x = index * step + step * 0.12;
        return (
          <g key={index}>
            <rect class="spark-good" x={x} width={step * 0.76} y={HEIGHT - 1 - good} height={good} />
            {/* Narrower, so that the shape differs as well as the colour. */}
            <rect class="spark-bad" x={x + step * 0.16} width={step * 0.44} y={HEIGHT - 1 - good - bad} height={bad} />
          </g>
        );
      })}
    </svg>
  );
}
