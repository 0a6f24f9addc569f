// The texts and formats of the selected language.
import { usePrefs, type Language } from '../state/prefs';
import { en, type Messages } from './en';
import { formatOf, type Format } from './format';
import { zh } from './zh';

export interface I18n {
  language: Language;
  text: Messages;
  format: Format;
}

const cache = new Map<Language, I18n>();

export function i18nOf(language: Language): I18n {
  const cached = cache.get(language);
  if (cached) return cached;
  const i18n = { language, text: language === 'zh' ? zh : en, format: formatOf(language) };
  cache.set(language, i18n);
  return i18n;
}

export const useI18n = (): I18n => i18nOf(usePrefs().language);
