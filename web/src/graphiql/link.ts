// The document in an address: `/graphiql?query=…&variables=…`.
export interface Link {
  query: string;
  variables: string;
}

export function readLink(search: string): Link | undefined {
  const parameters = new URLSearchParams(search);
  const query = parameters.get('query');
  return query ? { query, variables: parameters.get('variables') ?? '' } : undefined;
}

/**
 * Stores a link's document and variables as GraphiQL stores edited ones. After a reload GraphiQL selects the tab with
 * the stored document and variables; without variables it would open the document in another tab, without them.
 */
export function storeLink(storage: Pick<Storage, 'setItem'>, { query, variables }: Link): void {
  try {
    storage.setItem('graphiql:query', query);
    storage.setItem('graphiql:variables', variables);
  } catch {
    // The browser's storage is full; the link opens anyway.
  }
}
