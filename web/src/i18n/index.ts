// The texts and formats of the chosen language.
import { usePrefs, type Language } from '../state/prefs';
import { en, type Messages } from './en';
import { formatOf, type Format } from './format';
import { zh } from './zh';

export interface Speech {
  language: Language;
  text: Messages;
  format: Format;
}

const made = new Map<Language, Speech>();

export function speechOf(language: Language): Speech {
  const known = made.get(language);
  if (known) return known;
  const speech = { language, text: language === 'zh' ? zh : en, format: formatOf(language) };
  made.set(language, speech);
  return speech;
}

export const useSpeech = (): Speech => speechOf(usePrefs().language);
