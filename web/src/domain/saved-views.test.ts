import { expect, test } from 'vitest';
import { parseViews, withoutView, withView } from './saved-views';

test('stored views are checked', () => {
  const stored = [{ name: 'a', address: '/calls?code=429' }, { name: '', address: '/' }, { name: 'b', address: '//elsewhere.example' }, { name: 'c', address: 'javascript:alert(1)' }, { name: 'd', address: '/\\elsewhere' }, null, 5];
  expect(parseViews(JSON.stringify(stored))).toEqual([stored[0]]);
  expect(parseViews('{"name":"a"}')).toEqual([]);
  expect(parseViews('not JSON')).toEqual([]);
  expect(parseViews(null)).toEqual([]);
});

test('a view replaces another one with the same name', () => {
  const views = withView(withView(withView([], { name: 'b', address: '/keys' }), { name: 'a', address: '/calls' }), { name: 'b', address: '/errors' });
  expect(views).toEqual([{ name: 'a', address: '/calls' }, { name: 'b', address: '/errors' }]);
  expect(withoutView(views, 'a')).toEqual([{ name: 'b', address: '/errors' }]);
});
