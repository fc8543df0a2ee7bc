import * as Path from "node:path"
import { defineConfig } from "vitest/config"

const resilience = Path.join(import.meta.dirname, "packages/resilience")

/**
 * The tests that mutants of the resilience package are run against. Stryker runs them in a copy of the repository, whose packages are
 * not those that `node_modules` links to: so the package's own name is resolved here.
 */
export default defineConfig({
  resolve: {
    alias: [
      { find: /^@ballast\/resilience$/, replacement: Path.join(resilience, "src/index.ts") },
      { find: /^@ballast\/resilience\/testing$/, replacement: Path.join(resilience, "src/Testing.ts") }
    ]
  },
  test: {
    isolate: false,
    include: [
      "packages/resilience/test/{CircuitBreaker,ConcurrencyLimit,AdaptiveLimit,RateLimiter,RetryBudget}.test.ts",
      "packages/resilience/test/{CircuitBreaker,ConcurrencyLimit,AdaptiveLimit,RateLimiter,RetryBudget}.*.test.ts",
      "packages/resilience/test/internal/*.test.ts"
    ],
    exclude: [
      // They take long and assert only roughly.
      "**/*.slow.test.ts",
      // They take long, and what they find by chance or by trying everything, other tests state too.
      "**/*.interruption.test.ts",
      "**/CircuitBreaker.concurrency.test.ts",
      "**/{CircuitBreaker,RateLimiter,ConcurrencyLimit}.model.test.ts"
    ]
  }
})
