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
    include: [
      "packages/resilience/test/{CircuitBreaker,ConcurrencyLimit,AdaptiveLimit,RateLimiter,RetryBudget}.test.ts",
      "packages/resilience/test/{CircuitBreaker,ConcurrencyLimit,AdaptiveLimit,RateLimiter,RetryBudget}.*.test.ts",
      "packages/resilience/test/internal/*.test.ts"
    ],
    // The simulations take long and assert only roughly. The breaker's model and its steps of every interruption take most of the time of
    // its tests, and at least nine mutants of ten of each of its modules are noticed without them.
    exclude: ["**/*.simulation.test.ts", "**/CircuitBreaker.{concurrency,model}.test.ts"]
  }
})
