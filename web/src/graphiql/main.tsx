/** @jsxImportSource react */
import 'graphiql/setup-workers/vite';
import { createRoot } from 'react-dom/client';
// Not graphiql/style.css, which includes Monaco's style a second time, and fonts.
import '@graphiql/react/style.css';
import '@graphiql/plugin-doc-explorer/style.css';
import '@graphiql/plugin-history/style.css';
import 'graphiql/graphiql.css';
import '@graphiql/plugin-explorer/style.css';
import './style.css';
import { Explore } from './explore';
import { readLink, storeLink } from './link';
import { Small } from './small';

const element = document.getElementById('graphiql');
const root = element && createRoot(element);

function explore(): void {
  const link = readLink(location.search);
  if (link) {
    storeLink(localStorage, link);
    // From now on the document is in a tab: a reload keeps the user's edits.
    history.replaceState(null, '', location.pathname);
  }
  root?.render(<Explore {...(link && { link })} />);
}

if (matchMedia('(max-width: 680px)').matches) root?.render(<Small onShow={explore} />);
else explore();
