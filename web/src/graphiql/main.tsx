/** @jsxImportSource react */
import 'graphiql/setup-workers/vite';
import { createRoot } from 'react-dom/client';
// Not graphiql/style.css, which has Monaco's style a second time, and fonts within.
import '@graphiql/react/style.css';
import '@graphiql/plugin-doc-explorer/style.css';
import '@graphiql/plugin-history/style.css';
import 'graphiql/graphiql.css';
import '@graphiql/plugin-explorer/style.css';
import './style.css';
import { Explore } from './explore';
import { readLink, storeLink } from './link';

const link = readLink(location.search);
if (link) {
  storeLink(localStorage, link);
  // The document is in a tab from now on: to load the page again keeps what was changed there.
  history.replaceState(null, '', location.pathname);
}
const root = document.getElementById('graphiql');
if (root) createRoot(root).render(<Explore {...(link && { link })} />);
