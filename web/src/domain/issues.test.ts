import { expect, test } from 'vitest';
import type { ErrorTrendsQuery } from '../api/gen/graphql';
import { groupName, issuesOf, typesOf } from './issues';

const WINDOWS = Object.fromEntries(Array.from({ length: 12 }, (_, index) => [`w${index}`, []])) as unknown as ErrorTrendsQuery;

test('keys and models of a group are counted, and its parts are in order', () => {
  const a = { failureClass: 'QUOTA_DAY', messageTemplate: { id: 't1-a' } } as const;
  const b = { failureClass: 'UNKNOWN', messageTemplate: null } as const;
  const data = {
    keys: [{ ...a, apiKey: { id: 'key_1' } }, { ...a, apiKey: { id: 'key_2' } }, { ...a, apiKey: null }, { ...b, apiKey: { id: 'key_1' } }],
    models: [{ ...a, model: 'm' }, { ...b, model: null }],
  };
  const trends: ErrorTrendsQuery = { ...WINDOWS, w1: [{ ...a, count: 3 }], w10: [{ ...a, count: 5 }, { ...b, count: 7 }] };
  const { of, areKeysCut, areModelsCut } = issuesOf(data, trends, 4);
  expect(of.get(groupName(a))).toEqual({ keys: 2, models: 1, parts: [0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0] });
  expect(of.get(groupName(b))).toEqual({ keys: 1, models: 0, parts: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0] });
  expect([areKeysCut, areModelsCut]).toEqual([true, false]);
  expect(issuesOf(data, undefined, 4).of.get(groupName(a))).toEqual({ keys: 2, models: 1, parts: undefined });
});

test('a group has the types of its error logs in their order', () => {
  const a = { failureClass: 'QUOTA_DAY', messageTemplate: { id: 't1-a' } } as const;
  const b = { failureClass: 'UNKNOWN', messageTemplate: null } as const;
  const types = typesOf([{ ...a, errorType: 'chat' }, { ...b, errorType: null }, { ...a, errorType: 'embed' }]);
  expect([...types]).toEqual([[groupName(a), ['chat', 'embed']]]);
});
