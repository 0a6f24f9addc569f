// A link that opens a document of the page in GraphiQL, where there is one.
import type { JSX } from 'preact';
import { graphiqlLink } from '../api/ask';
import type { TypedDocumentString } from '../api/gen/graphql';
import { useSpeech } from '../i18n';
import { hasGraphiql } from '../state/session';
import { Icon } from './icon';

export function GraphiqlLink<T, V>(props: {
  document: TypedDocumentString<T, V>;
  variables: V;
  /** The icon alone. */
  compact?: boolean;
}): JSX.Element | null {
  const { text } = useSpeech();
  if (!hasGraphiql()) return null;
  const label = props.compact ? { title: text.detail.graphiql, 'aria-label': text.detail.graphiql } : {};
  return (
    <a class="button small" href={graphiqlLink(props.document, props.variables)} {...label}>
      <Icon name="graphiql" />
      {!props.compact && text.detail.graphiql}
    </a>
  );
}
