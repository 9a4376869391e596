// How the tests run: in plain Node, without a browser and without network.

import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['src/**/*.test.ts'],
    environment: 'node',
    // All cores, where the default leaves one out: it is pure computing.
    maxWorkers: '100%',
    // The mutants need a few hundred pairings, and thousands of certificates read, in pure JavaScript.
    testTimeout: 900_000,
  },
});
