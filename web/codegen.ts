import type { CodegenConfig } from '@graphql-codegen/cli';

const config: CodegenConfig = {
  schema: '../schema.graphql',
  documents: 'src/api/documents/*.graphql',
  generates: {
    'src/api/gen/': {
      preset: 'client',
      presetConfig: { fragmentMasking: false },
      config: {
        documentMode: 'string',
        pureMagicComment: true,
        enumsAsTypes: true,
        useTypeImports: true,
        scalars: {
          BigInt: 'number',
          DateTime: 'string',
          Duration: 'string',
          TimeZone: 'string',
          JSON: 'unknown',
        },
      },
    },
  },
};

export default config;
