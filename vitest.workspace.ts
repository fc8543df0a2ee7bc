import type { TestProjectConfiguration } from "vitest/config"

/** The list of test projects: every package, every example, and the repository itself (documents and scripts). */
const projects: Array<TestProjectConfiguration> = [
  "packages/*",
  "examples/*",
  { test: { name: "repository", include: ["test/**/*.test.ts"] } }
]

export default projects
