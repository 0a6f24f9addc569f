// schema.graphql by the rules of graphql-eslint. Each rule that is changed has its reason.
import { fileURLToPath } from 'node:url';
import graphql from '@graphql-eslint/eslint-plugin';

const schema = fileURLToPath(new URL('../../schema.graphql', import.meta.url));

export default [
  {
    files: ['**/*.graphql'],
    plugins: { '@graphql-eslint': graphql },
    languageOptions: { parser: graphql.parser, parserOptions: { graphQLConfig: { schema } } },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      ...graphql.configs['flat/schema-recommended'].rules,
      ...graphql.configs['flat/schema-relay'].rules,
      '@graphql-eslint/strict-id-in-types': [
        'error',
        {
          exceptions: {
            // Parts of an answer that are no things by themselves: a store keeps them with their
            // parents. The names of all four are the contract's or Relay's.
            suffixes: ['Connection', 'Edge', 'Payload', 'PageInfo'],
            // Numbers that are computed for a question; asked again, they are others.
            types: [
              'CallBucket',
              'CallCounts',
              'CallGroup',
              'ErrorGroup',
              'LatencyStats',
              'UsageStats',
              // One of each for a server, a table of it, or a caller.
              'ServerInfo',
              'ServerLimits',
              'ServerStorage',
              'TableStorage',
              'Viewer',
            ],
          },
        },
      ],
      '@graphql-eslint/relay-edge-types': [
        'error',
        {
          withEdgeSuffix: true,
          shouldImplementNode: true,
          // The contract has `nodes` in each connection, and short lists that need no pages:
          // groups, buckets, the calls that were recorded, scopes.
          listTypeCanWrapOnlyEdgeType: false,
        },
      ],
    },
  },
];
