import { render } from 'preact';
import { App } from './app';
import { applyPrefs } from './state/prefs';
import { interceptLinks } from './state/router';
import { start } from './state/session';
import './style/index.css';

applyPrefs();
document.addEventListener('click', interceptLinks);
void start();
const root = document.getElementById('app');
if (root) render(<App />, root);
