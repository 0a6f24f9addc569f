// The functions of react-relay's hooks without React: load a query, read fragments, refetch, page.
import {
  type ConcreteRequest,
  createOperationDescriptor,
  type Environment,
  fetchQuery,
  getFragment,
  getPaginationMetadata,
  getPaginationVariables,
  getRefetchMetadata,
  getRequest,
  getSingularSelector,
  getValueAtPath,
  type GraphQLTaggedNode,
  type FragmentType,
  type OperationType,
  type Variables,
} from 'relay-runtime';

/** A typed reference to a fragment, as a component receives it. */
interface Key<Data = unknown> {
  readonly ' $data'?: Data;
  readonly ' $fragmentSpreads': FragmentType;
}

export class Page {
  constructor(private readonly environment: Environment) {}

  /** useLazyLoadQuery. */
  async load<Query extends OperationType>(query: GraphQLTaggedNode, variables: Query['variables']) {
    const operation = createOperationDescriptor(getRequest(query), variables);
    // The store deletes data that is not retained.
    this.environment.retain(operation);
    const response = await fetchQuery<Query>(this.environment, query, variables).toPromise();
    return response as Query['response'];
  }

  /** useFragment. */
  read<Data>(fragment: GraphQLTaggedNode, key: Key<Data>): Data {
    const selector = getSingularSelector(getFragment(fragment), key);
    return this.environment.lookup(selector!).data as Data;
  }

  /** The `refetch` of useRefetchableFragment: of an object with an id, by `node(id:)`. */
  async refetch(fragment: GraphQLTaggedNode, key: Key): Promise<void> {
    const { refetchableRequest, identifierInfo } = getRefetchMetadata(getFragment(fragment), 'refetch');
    await this.again(refetchableRequest, fragment, key, {}, identifierInfo?.identifierField);
  }

  /** The `loadNext` of usePaginationFragment; false after the last page. */
  async loadNext(fragment: GraphQLTaggedNode, key: Key, count: number): Promise<boolean> {
    const metadata = getPaginationMetadata(getFragment(fragment), 'loadNext');
    const path = metadata.connectionPathInFragmentData;
    const connection = getValueAtPath(this.read(fragment, key), path) as Connection;
    if (!connection.pageInfo.hasNextPage) {
      return false;
    }
    const { endCursor } = connection.pageInfo;
    const { paginationRequest, paginationMetadata, identifierField } = metadata;
    const variables = getPaginationVariables('forward', count, endCursor, {}, {}, paginationMetadata);
    await this.again(paginationRequest, fragment, key, variables, identifierField);
    return true;
  }

  private async again(
    request: ConcreteRequest,
    fragment: GraphQLTaggedNode,
    key: Key,
    variables: Variables,
    identifierField?: string | null,
  ): Promise<void> {
    const selector = getSingularSelector(getFragment(fragment), key)!;
    const all = { ...selector.owner.variables, ...selector.variables, ...variables };
    if (identifierField != null) {
      all['id'] = (this.read(fragment, key) as Record<string, unknown>)[identifierField];
    }
    await this.load(request, all);
  }
}

interface Connection {
  pageInfo: { hasNextPage: boolean; endCursor: string | null };
}
