import { expect, test } from 'vitest';
import type { ErrorGroupsQuery, ErrorIssuesQuery } from '../api/gen/graphql';
import { facetsOfGroups, groupName, issuesOf, mergedFacets, typesOf } from './issues';

const WINDOWS = Object.fromEntries(Array.from({ length: 12 }, (_, index) => [`w${index}`, []])) as unknown as Omit<ErrorIssuesQuery, 'keys' | 'models'>;

const key = (number: number) => ({ apiKey: { id: `key_${number}`, masked: `…${number}` } });

test('keys and models of a group are counted, and its parts are in order', () => {
  const a = { failureClass: 'QUOTA_DAY', messageTemplate: { id: 't1-a' } } as const;
  const b = { failureClass: 'UNKNOWN', messageTemplate: null } as const;
  const data: ErrorIssuesQuery = {
    ...WINDOWS,
    keys: [{ ...a, ...key(1), count: 1 }, { ...a, ...key(2), count: 1 }, { ...a, apiKey: null, count: 1 }, { ...b, ...key(1), count: 1 }],
    models: [{ ...a, model: 'm', count: 3 }, { ...b, model: null, count: 1 }],
    w1: [{ ...a, count: 3 }],
    w10: [{ ...a, count: 5 }, { ...b, count: 7 }],
  };
  const { of, areKeysCut, areModelsCut } = issuesOf(data, 4);
  expect(of.get(groupName(a))).toEqual({ keys: 2, models: 1, parts: [0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0] });
  expect(of.get(groupName(b))).toEqual({ keys: 1, models: 0, parts: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0] });
  expect([areKeysCut, areModelsCut]).toEqual([true, false]);
});

test('a group has the types of its error logs in their order', () => {
  const a = { failureClass: 'QUOTA_DAY', messageTemplate: { id: 't1-a' } } as const;
  const b = { failureClass: 'UNKNOWN', messageTemplate: null } as const;
  const types = typesOf([{ ...a, errorType: 'chat' }, { ...b, errorType: null }, { ...a, errorType: 'embed' }]);
  expect([...types]).toEqual([[groupName(a), ['chat', 'embed']]]);
});

test('facets are sums of groups, unless they were requested or the groups are cut', () => {
  const a = { failureClass: 'QUOTA_DAY', messageTemplate: { id: 't1-a' } } as const;
  const b = { failureClass: 'UNKNOWN', messageTemplate: null } as const;
  const types: ErrorGroupsQuery['types'] = [
    { ...a, errorType: 'chat', count: 5 },
    { ...b, errorType: 'embed', count: 4 },
    { ...b, errorType: 'chat', count: 2 },
    { ...a, errorType: null, count: 1 },
  ];
  const issues = { keys: [{ ...a, ...key(1), count: 2 }, { ...b, ...key(2), count: 3 }, { ...b, ...key(1), count: 4 }], models: [{ ...a, model: 'm', count: 9 }] };
  const { facets, isCut } = facetsOfGroups(types, issues, 4);
  const counts = (of: { count: number }[] | null | undefined) => of?.map(({ count }) => count);
  expect([facets.causes, facets.types, facets.keys, facets.models].map(counts)).toEqual([[6, 6], [7, 4, 1], [6, 3], [9]]);
  expect(facets.keys?.[0]?.apiKey).toEqual(key(1).apiKey);
  expect(isCut).toEqual({ causes: true, types: true, keys: false, models: false });
  expect(facetsOfGroups(undefined, undefined, 4)).toEqual({ facets: {}, isCut: { causes: false, types: false, keys: false, models: false } });
  const requested = { codes: [], causes: [{ failureClass: 'UNKNOWN', count: 8 }] } as const;
  const merged = mergedFacets(facets, requested as never, isCut);
  expect([merged.causes, merged.types, merged.keys].map(counts)).toEqual([[8], undefined, [6, 3]]);
  expect(mergedFacets(facets, undefined, isCut).causes).toBeUndefined();
});
