import type { CodegenConfig } from '@graphql-codegen/cli';

const config: CodegenConfig = {
  schema: '../../schema.graphql',
  documents: 'src/*.ts',
  generates: {
    'src/graphql/': {
      preset: 'client',
      config: {
        // Documents are strings: the bundle contains no GraphQL library.
        documentMode: 'string',
        importExtension: '.js',
        useTypeImports: true,
        // A scalar that is not listed here is an error, not `any`.
        strictScalars: true,
        scalars: {
          BigInt: 'number',
          DateTime: 'string',
          Duration: 'string',
          JSON: 'unknown',
          TimeZone: 'string',
        },
      },
    },
  },
};

export default config;
