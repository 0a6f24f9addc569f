// The frame of every view: navigation and settings.
import type { ComponentChildren, JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { BootQuery } from '../api/gen/graphql';
import { useI18n } from '../i18n';
import { timeZone, zoneOffset } from '../i18n/format';
import { setPrefs, usePrefs, type Theme } from '../state/prefs';
import { navigate, linkTo, useRoute } from '../state/router';
import { outage } from '../state/outage';
import { hasGraphiql, signOut } from '../state/session';
import { useStore } from '../state/store';
import { useShortcuts } from '../state/shortcuts';
import { Help } from './help';
import { Icon } from './icon';
import { Progress } from './progress';
import { Toast } from './toast';

const VIEWS = [
  { path: '/', name: 'overview' },
  { path: '/calls', name: 'calls' },
  { path: '/keys', name: 'keys' },
  { path: '/errors', name: 'errors' },
] as const;

const THEMES: { theme: Theme; icon: 'auto' | 'sun' | 'moon' }[] = [
  { theme: 'auto', icon: 'auto' },
  { theme: 'light', icon: 'sun' },
  { theme: 'dark', icon: 'moon' },
];

export function Shell(props: { boot: BootQuery; hasSession: boolean; children: ComponentChildren }): JSX.Element {
  const { text } = useI18n();
  const { path } = useRoute();
  const trouble = useStore(outage);
  const [help, setHelp] = useState(false);
  useShortcuts({
    '?': () => setHelp(true),
    'g o': () => navigate(linkTo('/')),
    'g c': () => navigate(linkTo('/calls')),
    'g k': () => navigate(linkTo('/keys')),
    'g e': () => navigate(linkTo('/errors')),
    '/': () => document.querySelector<HTMLElement>('[data-search]')?.focus(),
  });
  return (
    <div class="shell">
      <a class="skip" href="#content">
        {text.app.skip}
      </a>
      <header class="side">
        <a data-inner href="/" class="brand">
          <Logo />
          <span>{text.app.name}</span>
        </a>
        <nav aria-label={text.app.views} class="nav">
          {VIEWS.map(({ path: to, name }) => {
            const here = to === '/' ? path === '/' : path.startsWith(to);
            return (
              <a key={name} data-inner href={linkTo(to)} aria-current={here ? 'page' : undefined}>
                <Icon name={name} />
                <span>{text.app[name]}</span>
              </a>
            );
          })}
          {hasGraphiql() && (
            <a href="/graphiql" class="nav-outside">
              <Icon name="graphiql" />
              <span>{text.app.graphiql}</span>
            </a>
          )}
        </nav>
        <Settings boot={props.boot} hasSession={props.hasSession} onHelp={() => setHelp(true)} />
      </header>
      <main id="content" class="main">
        <Progress />
        {trouble && (
          <p class="banner" role="alert">
            <Icon name="offline" />
            <strong>{text.state.outages[trouble]}</strong>
            <span>{text.state.offlineHint}</span>
          </p>
        )}
        {props.children}
      </main>
      <Toast />
      {help && <Help onClose={() => setHelp(false)} />}
    </div>
  );
}

export function Logo(): JSX.Element {
  return (
    <svg class="logo" viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="8" class="logo-ground" />
      <path d="M7 21v-4M12 21v-9M17 21v-7M22 21V9" class="logo-bars" />
      <circle cx="26" cy="7" r="3.5" class="logo-dot" />
    </svg>
  );
}

function Settings(props: { boot: BootQuery; hasSession: boolean; onHelp: () => void }): JSX.Element {
  const { text } = useI18n();
  const { theme, language } = usePrefs();
  const { serverInfo, viewer } = props.boot;
  const next = THEMES[(THEMES.findIndex((one) => one.theme === theme) + 1) % THEMES.length];
  const shown = THEMES.find((one) => one.theme === theme);
  return (
    <div class="settings">
      <div class="settings-row">
        <button
          type="button"
          class="button bare"
          lang={language === 'en' ? 'zh-Hans' : 'en'}
          aria-label={language === 'en' ? '切换到中文' : 'EN: Switch to English'}
          title={text.app.language}
          onClick={() => setPrefs({ language: language === 'en' ? 'zh' : 'en' })}
        >
          {language === 'en' ? '中文' : 'EN'}
        </button>
        <button
          type="button"
          class="button bare"
          aria-label={`${text.app.theme}: ${text.app.themes[theme]}`}
          title={`${text.app.theme}: ${text.app.themes[theme]}`}
          onClick={() => next && setPrefs({ theme: next.theme })}
        >
          <Icon name={shown?.icon ?? 'auto'} />
        </button>
        <button type="button" class="button bare" aria-label={text.app.shortcuts} title={`${text.app.shortcuts} (?)`} onClick={props.onHelp}>
          <Icon name="help" />
        </button>
        {props.hasSession && (
          <button
            type="button"
            class="button bare"
            aria-label={text.app.signOut}
            title={`${text.app.signedInAs(viewer.name)}. ${text.app.signOut}`}
            onClick={() => void signOut()}
          >
            <Icon name="out" />
          </button>
        )}
      </div>
      <p class="settings-note">
        {props.hasSession && <span>{viewer.name}</span>}
        <span title={text.app.zone(timeZone, zoneOffset(Date.now()))}>
          {timeZone} ({zoneOffset(Date.now())})
        </span>
        <span>
          {serverInfo.version} · {serverInfo.database}
        </span>
      </p>
    </div>
  );
}
