import { expect, test } from 'vitest';
import type { ErrorIssuesQuery } from '../api/gen/graphql';
import { groupName, issuesOf } from './issues';

const WINDOWS = Object.fromEntries(Array.from({ length: 12 }, (_, index) => [`w${index}`, []])) as unknown as Omit<ErrorIssuesQuery, 'keys' | 'models'>;

test('keys and models of a group are counted, and its parts are in order', () => {
  const a = { errorType: 'chat', errorCode: 429 };
  const b = { errorType: null, errorCode: null };
  const data: ErrorIssuesQuery = {
    ...WINDOWS,
    keys: [{ ...a, apiKey: { id: 'key_1' } }, { ...a, apiKey: { id: 'key_2' } }, { ...a, apiKey: null }, { ...b, apiKey: { id: 'key_1' } }],
    models: [{ ...a, model: 'm' }, { ...b, model: null }],
    w1: [{ ...a, count: 3 }],
    w10: [{ ...a, count: 5 }, { ...b, count: 7 }],
  };
  const { of, areKeysCut, areModelsCut } = issuesOf(data, 4);
  expect(of.get(groupName(a))).toEqual({ keys: 2, models: 1, parts: [0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0] });
  expect(of.get(groupName({}))).toEqual({ keys: 1, models: 0, parts: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0] });
  expect([areKeysCut, areModelsCut]).toEqual([true, false]);
});
