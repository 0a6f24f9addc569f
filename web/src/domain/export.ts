// Rows as files: CSV (RFC 4180) and NDJSON.

type Value = string | number | null | undefined;
export type Row = Record<string, Value>;
export type FileKind = 'csv' | 'ndjson';

export const MEDIA_TYPES: Record<FileKind, string> = {
  csv: 'text/csv;charset=utf-8',
  ndjson: 'application/x-ndjson;charset=utf-8',
};

/** Spreadsheets must not evaluate a stored text as a formula. */
const isFormula = (text: string): boolean => /^[=+\-@\t\r]/.test(text);

function cell(value: Value): string {
  if (value == null) return '';
  if (typeof value === 'number') return String(value);
  const text = isFormula(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** The header of a file with these columns. */
export const headOf = (kind: FileKind, columns: readonly string[]): string =>
  kind === 'csv' ? `${columns.join(',')}\r\n` : '';

export function lineOf(kind: FileKind, columns: readonly string[], row: Row): string {
  if (kind === 'csv') return `${columns.map((column) => cell(row[column])).join(',')}\r\n`;
  return `${JSON.stringify(Object.fromEntries(columns.map((column) => [column, row[column] ?? null])))}\n`;
}

const LONGEST_NAME = 160;

/** The name of a file of rows: what they are, from when to when, and the filters of the address. */
export function fileName(rows: string, [since, until]: readonly [number, number], filters: readonly (readonly [string, string])[]): string {
  const time = (ms: number): string => new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z').replaceAll(/[-:]/g, '');
  const part = ([name, value]: readonly [string, string]): string => `${name.replace(/^-/, 'not-')}-${value}`.replaceAll(/[^\p{L}\p{N}.-]+/gu, '-');
  return [rows, time(since), time(until), ...filters.map(part)].join('_').slice(0, LONGEST_NAME);
}
