// Keys in texts that the user types or pastes.

/** The same rule as for the audit log: 16 letters and digits in a row with a digit; or a UUID. */
export function looksLikeKey(text: string): boolean {
  return (
    text.split(/[^A-Za-z0-9]/).some((run) => run.length >= 16 && /\d/.test(run)) ||
    /[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/i.test(text)
  );
}

/** The masked form of a key in the page and in the API: both kinds of ellipsis. */
export const sameMask = (text: string): string => text.replace('...', '…').toLowerCase();

/** Whether a text is the masked form of a key. */
export const isMasked = (text: string): boolean => /^\S{0,4}(…|\.{3})\S{0,4}$/.test(text) && text.length > 3;

/** Whether a key with this masked form may be the one that a text names: by a part of the form, or in full. */
export function mayName(text: string, masked: string): boolean {
  const wanted = text.trim();
  const form = sameMask(masked);
  return form.includes(sameMask(wanted)) || (wanted.length >= 16 && form === sameMask(`${wanted.slice(0, 4)}…${wanted.slice(-4)}`));
}
