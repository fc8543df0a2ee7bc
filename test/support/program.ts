import { assert, describe, it } from "@effect/vitest"
import * as Fs from "node:fs"
import * as Path from "node:path"

const onPath = (program: string): boolean =>
  (process.env.PATH ?? "").split(Path.delimiter).some((folder) => Fs.existsSync(Path.join(folder, program)))

/**
 * Describes tests that need a program of the machine. Where it is missing, they are skipped under a name that says how to install it;
 * in CI (`CI=true`) they fail instead.
 */
export const describeWith = (program: string, install: string) => (name: string, tests: () => void): void => {
  if (onPath(program)) {
    describe(name, tests)
  } else if (process.env.CI === "true") {
    describe(name, () => {
      it(`needs ${program}`, () => assert.fail(`${program} is not installed: ${install}`))
    })
  } else {
    const skipped = `${name} (needs ${program}: ${install})`
    console.warn(`Skipped: ${skipped}`)
    describe.skip(skipped, tests)
  }
}
