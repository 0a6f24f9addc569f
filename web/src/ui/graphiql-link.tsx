// A link that opens a document of the page in GraphiQL, if the server has it.
import type { JSX } from 'preact';
import { graphiqlUrl } from '../api/graphiql-url';
import type { TypedDocumentString } from '../api/gen/graphql';
import { useI18n } from '../i18n';
import { hasGraphiql } from '../state/session';
import { Icon } from './icon';

export function GraphiqlLink<T, V>(props: {
  document: TypedDocumentString<T, V>;
  variables: V;
  /** Shows only the icon. */
  compact?: boolean;
}): JSX.Element | null {
  const { text } = useI18n();
  if (!hasGraphiql()) return null;
  const label = props.compact ? { title: text.detail.graphiql, 'aria-label': text.detail.graphiql } : {};
  return (
    <a class="button small" href={graphiqlUrl(props.document, props.variables)} {...label}>
      <Icon name="graphiql" />
      {!props.compact && text.detail.graphiql}
    </a>
  );
}
