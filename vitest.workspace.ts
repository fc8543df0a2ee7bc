import * as Fs from "node:fs"
import * as Path from "node:path"
import type { TestProjectInlineConfiguration } from "vitest/config"

/** A test that takes longer hangs. A busy machine may make any test slow, so nothing is judged by this. */
const testTimeout = 120_000

/** The projects of a folder, each named as its package. */
const projectsIn = (folder: string): ReadonlyArray<TestProjectInlineConfiguration> =>
  Fs.readdirSync(Path.join(import.meta.dirname, folder), { withFileTypes: true }).filter((entry) => entry.isDirectory())
    .map(({ name }) => ({ test: { name, testTimeout, root: Path.join(import.meta.dirname, folder, name) } }))

/** The list of test projects: every package, every example, and the repository itself (documents and scripts). */
const projects: Array<TestProjectInlineConfiguration> = [
  ...projectsIn("packages"),
  ...projectsIn("examples"),
  { test: { name: "repository", testTimeout, include: ["test/**/*.test.ts"] } }
]

export default projects
