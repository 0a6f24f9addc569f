// Stored texts with characters that change the direction of text.

/** Isolates a text within a line: an override such as U+202E in it does not reverse what follows. */
export const isolate = (text: string): string => `\u2068${text}\u2069`;
