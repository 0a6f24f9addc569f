/** @jsxImportSource react */
// The GraphiQL page at `/graphiql`.
import { explorerPlugin } from '@graphiql/plugin-explorer';
import { ToolbarButton } from '@graphiql/react';
import { GraphiQL, HISTORY_PLUGIN } from 'graphiql';
import { useRef, useState, type ReactElement } from 'react';
import { EXAMPLES } from './examples';
import { createFetcher, type Transport } from './fetcher';
import type { Link } from './link';
import { withoutHeaders } from './storage';

const PLUGINS = [explorerPlugin({ showAttribution: false }), HISTORY_PLUGIN];
const STORAGE = withoutHeaders(localStorage);
const TRANSPORT = 'callscope.graphiql-transport';

export function Explore({ link }: { link?: Link }): ReactElement {
  const [transport, setTransport] = useState<Transport>(localStorage.getItem(TRANSPORT) === 'sse' ? 'sse' : 'websocket');
  const [isAuthenticated, setAuthenticated] = useState(true);
  // A new fetcher would load the schema again.
  const current = useRef(transport);
  const [fetcher] = useState(() => createFetcher(() => current.current, setAuthenticated));
  const change = (): void => {
    current.current = transport === 'sse' ? 'websocket' : 'sse';
    localStorage.setItem(TRANSPORT, current.current);
    setTransport(current.current);
  };
  return (
    <>
      {!isAuthenticated && (
        <p role="alert" className="unknown">
          Authentication required. <a href="/">Sign in</a> and return to this page, or enter{' '}
          <code>{'{"Authorization": "Bearer …"}'}</code> as headers and fetch the schema again.
        </p>
      )}
      <GraphiQL
        fetcher={fetcher}
        plugins={PLUGINS}
        storage={STORAGE}
        shouldPersistHeaders={false}
        defaultEditorToolsVisibility
        defaultQuery=""
        defaultTabs={[...(link ? [link] : []), ...EXAMPLES.map((query) => ({ query }))]}
        {...(link && { initialQuery: link.query, initialVariables: link.variables })}
      >
        <GraphiQL.Logo>
          <a className="graphiql-logo-link" href="/">
            Callscope
          </a>
        </GraphiQL.Logo>
        <GraphiQL.Toolbar>
          {({ prettify, merge, copy }) => (
            <>
              {prettify}
              {merge}
              {copy}
              <ToolbarButton
                label={transport === 'sse' ? 'Subscriptions use SSE: switch to WebSocket' : 'Subscriptions use WebSocket: switch to SSE'}
                onClick={change}
              >
                <span className="transport">{transport === 'sse' ? 'SSE' : 'WS'}</span>
              </ToolbarButton>
            </>
          )}
        </GraphiQL.Toolbar>
      </GraphiQL>
    </>
  );
}
