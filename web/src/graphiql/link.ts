// The document that an address brings: `/graphiql?query=…&variables=…`.
export interface Link {
  query: string;
  variables: string;
}

export function readLink(search: string): Link | undefined {
  const parameters = new URLSearchParams(search);
  const query = parameters.get('query');
  return query ? { query, variables: parameters.get('variables') ?? '' } : undefined;
}
