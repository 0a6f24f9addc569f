import { expect, it } from 'vitest';
import { parseMessages } from './stream';

it('parses events that are split at any position', () => {
  const text = ':\n\nevent: next\ndata: {"data":1}\n\nevent: complete\ndata:\n\n';
  for (let at = 0; at <= text.length; at++) {
    const first = parseMessages(text.slice(0, at));
    const second = parseMessages(first.rest + text.slice(at));
    const events = [...first.messages, ...second.messages].filter(({ event }) => event !== 'message');
    expect(events).toEqual([
      { event: 'next', data: '{"data":1}' },
      { event: 'complete', data: '' },
    ]);
    expect(second.rest).toBe('');
  }
});
