import { expect, it } from 'vitest';
import { formatOf } from './format';

const en = formatOf('en', 'en-GB');
const zh = formatOf('zh', 'zh-CN');

it('never rounds nearly all to all', () => {
  expect(en.percent(0.9999)).toBe('99.99%');
  expect(en.percent(0.99999)).toBe('99.99%');
  expect(en.percent(1)).toBe('100%');
  expect(en.percent(0.94149)).toBe('94.1%');
});

it('formats latencies with a suitable unit', () => {
  expect([17, 950, 1234, 13_500, 118_000, 125_000].map(en.latency)).toEqual(['17ms', '950ms', '1.23s', '13.5s', '118s', '2.1m']);
  expect(zh.latency(1234)).toBe('1.23秒');
});

it('formats relative times', () => {
  const now = Date.parse('2026-11-23T08:00:00Z');
  expect(en.ago('2026-11-23T07:55:00Z', now)).toBe('5 min ago');
  expect(en.ago('2026-11-20T07:55:00Z', now)).toBe('3 days ago');
  expect(zh.ago('2026-11-23T07:55:00Z', now)).toBe('5分钟前');
});
