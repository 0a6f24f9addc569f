import type { CodegenConfig } from '@graphql-codegen/cli';

const config: CodegenConfig = {
  schema: '../../schema.graphql',
  documents: 'src/*.ts',
  generates: {
    'src/graphql/': {
      preset: 'client',
      config: {
        // Documents are texts: no GraphQL library goes into what is shipped.
        documentMode: 'string',
        importExtension: '.js',
        useTypeImports: true,
        // A scalar that is not named here is an error, not an `any`.
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
