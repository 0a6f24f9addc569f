import { render } from 'preact';
import { App } from './app';
import { show } from './state/prefs';
import { followLinks } from './state/router';
import { start } from './state/session';
import './style/index.css';

show();
document.addEventListener('click', followLinks);
void start();
const root = document.getElementById('app');
if (root) render(<App />, root);
