/** @jsxImportSource react */
// What a phone shows before GraphiQL.
import type { ReactElement } from 'react';

const TEXTS = {
  en: {
    title: 'GraphiQL is made for larger screens',
    reason: 'On this screen its editors are small and difficult to use by touch. Open this address on a computer.',
    back: 'Back to Callscope',
    anyway: 'Show anyway',
  },
  zh: {
    title: 'GraphiQL 适合更大的屏幕',
    reason: '在此屏幕上，它的编辑器很小，触摸操作也不方便。请在电脑上打开此地址。',
    back: '返回 Callscope',
    anyway: '仍然显示',
  },
};

/** The language that the user chose on the page, which stores it; else that of the browser. */
function languageOf(): keyof typeof TEXTS {
  try {
    const stored = JSON.parse(localStorage.getItem('callscope.prefs') ?? '{}') as { language?: unknown };
    if (stored.language === 'en' || stored.language === 'zh') return stored.language;
  } catch {
    // Storage is disabled or holds something else.
  }
  const first = navigator.languages.find((language) => /^(en|zh)\b/i.test(language));
  return first?.toLowerCase().startsWith('zh') ? 'zh' : 'en';
}

export function Small({ onShow }: { onShow: () => void }): ReactElement {
  const language = languageOf();
  const text = TEXTS[language];
  return (
    <main className="small-screen" lang={language === 'zh' ? 'zh-Hans' : 'en'}>
      <h1>{text.title}</h1>
      <p>{text.reason}</p>
      <p className="small-screen-actions">
        <a href="/">{text.back}</a>
        <button type="button" onClick={onShow}>
          {text.anyway}
        </button>
      </p>
    </main>
  );
}
