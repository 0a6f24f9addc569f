import { expect, it } from 'vitest';
import { firstLine, parseProviderError } from './provider';

const GEMINI = JSON.stringify({
  error: { code: 400, message: 'API key not valid. Please pass a valid API key.', status: 'INVALID_ARGUMENT', details: [{ '@type': 'x' }, { reason: 'API_KEY_INVALID' }] },
});
const OPENAI = `OpenAI API error: Error code: 403 - {'error': {'code': 403, 'message': "Permission denied: Consumer 'api_key' has been suspended.", 'status': 'PERMISSION_DENIED', 'details': [{'reason': 'CONSUMER_SUSPENDED'}]}}`;

it('finds the sentence in JSON', () => {
  expect(parseProviderError(GEMINI)).toMatchObject({ text: 'API key not valid. Please pass a valid API key.', status: 'INVALID_ARGUMENT', reason: 'API_KEY_INVALID' });
  expect(parseProviderError(`[${GEMINI}]`).reason).toBe('API_KEY_INVALID');
  expect(parseProviderError('{"error":"quota"}').text).toBe('quota');
  expect(parseProviderError('{"error":{"message":"m","type":"t","code":"c"}}')).toMatchObject({ text: 'm', status: 't', reason: 'c' });
});

it("finds it in Python's notation", () => {
  expect(parseProviderError(OPENAI)).toMatchObject({ text: "Permission denied: Consumer 'api_key' has been suspended.", status: 'PERMISSION_DENIED', reason: 'CONSUMER_SUSPENDED' });
  expect(parseProviderError(`{'message': 'it\\'s\\nover'}`).text).toBe("it's\nover");
});

it('leaves other texts as they are', () => {
  for (const text of ['', 'Generic error: timed out', '<b>no</b>', '{"a":', '17', 'null', '[]']) expect(parseProviderError(text).text).toBe(text);
  expect(parseProviderError(null).text).toBe('');
  expect(firstLine('one\ntwo')).toBe('one');
});
