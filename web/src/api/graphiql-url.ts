// The address of GraphiQL with a document and its variables.
import type { TypedDocumentString } from './gen/graphql';

export function graphiqlUrl<T, V>(document: TypedDocumentString<T, V>, variables: V): string {
  const query = document.toString().trim().replaceAll(/^ {4}/gm, '');
  return `/graphiql?${new URLSearchParams({ query, variables: JSON.stringify(variables, null, 2) }).toString()}`;
}
