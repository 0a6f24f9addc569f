// The rules of graphql-eslint for schema.graphql. Each changed rule has a reason.
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
            // Parts of a response without identity: a client stores them with their parents. The names
            // are required by the contract or by Relay.
            suffixes: ['Connection', 'Edge', 'Payload', 'PageInfo'],
            // Computed statistics; they differ at each request.
            types: [
              'CallBucket',
              'ErrorBucket',
              'CallCounts',
              'CallGroup',
              'ErrorGroup',
              'Estimate',
              'Failure',
              'KeyQuota',
              'LatencyStats',
              'PoolPoint',
              'Usability',
              // Its `id` is the provider's, and may be missing.
              'StatedQuota',
              'UsageStats',
              // One for each server, table or caller.
              'ServerInfo',
              'ServerLimits',
              'ServerStorage',
              'TableStorage',
              'Rollups',
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
          // The contract requires `nodes` in each connection, and short lists without pages:
          // groups, buckets, recorded calls, scopes.
          listTypeCanWrapOnlyEdgeType: false,
        },
      ],
    },
  },
];
