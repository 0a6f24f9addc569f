import { expect, it } from 'vitest';
import { split } from './stream';

it('reads events wherever the parts are cut', () => {
  const text = ':\n\nevent: next\ndata: {"data":1}\n\nevent: complete\ndata:\n\n';
  for (let at = 0; at <= text.length; at++) {
    const first = split(text.slice(0, at));
    const second = split(first.rest + text.slice(at));
    const events = [...first.messages, ...second.messages].filter(({ event }) => event !== 'message');
    expect(events).toEqual([
      { event: 'next', data: '{"data":1}' },
      { event: 'complete', data: '' },
    ]);
    expect(second.rest).toBe('');
  }
});
