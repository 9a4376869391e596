// How `npm run bench` runs: the measuring file alone, its lines printed as they are.

import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['src/**/*.time.ts'],
    environment: 'node',
    testTimeout: 300_000,
    disableConsoleIntercept: true,
  },
});
