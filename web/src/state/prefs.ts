// What people choose once for all views: language, colours, live or paused. Kept in the browser.
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
    const kept = JSON.parse(localStorage.getItem(KEY) ?? '{}') as Partial<Record<keyof Prefs, unknown>>;
    if (kept.language === 'en' || kept.language === 'zh') prefs.language = kept.language;
    if (kept.theme === 'light' || kept.theme === 'dark') prefs.theme = kept.theme;
  } catch {
    // A browser that keeps nothing, or something of somebody else.
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
    // It holds as long as the page is open.
  }
  show();
}

/** Puts language and theme where CSS and screen readers find them. */
export function show(): void {
  const { language, theme } = prefs.get();
  const root = document.documentElement;
  root.lang = language === 'zh' ? 'zh-Hans' : 'en';
  if (theme === 'auto') delete root.dataset['theme'];
  else root.dataset['theme'] = theme;
}

export const usePrefs = (): Prefs => useStore(prefs);
