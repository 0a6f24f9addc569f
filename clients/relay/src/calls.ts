// The documents; in an application each component contains its own.
import { graphql } from 'relay-runtime';

export const callsQuery = graphql`
  query callsQuery($asOf: DateTime, $first: Int!) {
    ...calls_list @arguments(asOf: $asOf, first: $first)
  }
`;

export const callsList = graphql`
  fragment calls_list on Query
  @refetchable(queryName: "callsListQuery")
  @argumentDefinitions(asOf: { type: "DateTime" }, first: { type: "Int!" }, after: { type: "String" }) {
    callDetails(period: LAST_24_HOURS, asOf: $asOf, first: $first, after: $after)
      @connection(key: "calls_callDetails", filters: ["period", "asOf"]) {
      edges { node { id ...calls_row } }
      pageInfo { hasNextPage endCursor }
    }
  }
`;

export const callsRow = graphql`
  fragment calls_row on Call @refetchable(queryName: "callsRowQuery") {
    id
    timestamp
    statusCode
    errorLog { message }
    apiKey { masked ...calls_errorLogs @arguments(first: 3) }
  }
`;

export const callsErrorLogs = graphql`
  fragment calls_errorLogs on ApiKey
  @refetchable(queryName: "callsErrorLogsQuery")
  @argumentDefinitions(first: { type: "Int!" }, after: { type: "String" }) {
    id
    errorLogs(first: $first, after: $after) @connection(key: "calls_errorLogs") {
      edges { node { id timestamp errorCode } }
      pageInfo { hasNextPage endCursor }
    }
  }
`;
