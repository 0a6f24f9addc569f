// The address of GraphiQL with a document and its variables.
import type { TypedDocumentString } from './gen/graphql';

export function graphiqlUrl<T, V>(document: TypedDocumentString<T, V>, variables: V): string {
  // Only the first line of each definition is indented by the generator.
  const query = document.toString().trim().replaceAll(/^ {4}(?=(?:query|mutation|subscription|fragment)\b)/gm, '');
  return `/graphiql?${new URLSearchParams({ query, variables: JSON.stringify(variables, null, 2) }).toString()}`;
}
