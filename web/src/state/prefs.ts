// Preferences for all views: language, theme, live or paused. The first two are stored in the browser.
import { store, useStore } from './store';

export type Language = 'en' | 'zh';
export type Theme = 'auto' | 'light' | 'dark';

export interface Prefs {
  language: Language;
  theme: Theme;
  live: boolean;
}

const KEY = 'callscope.prefs';

function preferred(): Language {
  const first = navigator.languages.find((language) => /^(en|zh)\b/i.test(language));
  return first?.toLowerCase().startsWith('zh') ? 'zh' : 'en';
}

function read(): Prefs {
  const prefs: Prefs = { language: preferred(), theme: 'auto', live: true };
  try {
    const stored = JSON.parse(localStorage.getItem(KEY) ?? '{}') as Partial<Record<keyof Prefs, unknown>>;
    if (stored.language === 'en' || stored.language === 'zh') prefs.language = stored.language;
    if (stored.theme === 'light' || stored.theme === 'dark') prefs.theme = stored.theme;
  } catch {
    // Storage is disabled or holds something else.
  }
  return prefs;
}

export const prefs = store(read());

export function setPrefs(change: Partial<Prefs>): void {
  prefs.set({ ...prefs.get(), ...change });
  const { language, theme } = prefs.get();
  try {
    localStorage.setItem(KEY, JSON.stringify({ language, theme }));
  } catch {
    // Storage is disabled: the preference lasts until the page is closed.
  }
  applyPrefs();
}

/** Sets language and theme on the root element for CSS and screen readers. */
export function applyPrefs(): void {
  const { language, theme } = prefs.get();
  const root = document.documentElement;
  root.lang = language === 'zh' ? 'zh-Hans' : 'en';
  if (theme === 'auto') delete root.dataset['theme'];
  else root.dataset['theme'] = theme;
}

export const usePrefs = (): Prefs => useStore(prefs);
