import { assert, describe, it } from "@effect/vitest"
import { engines } from "../../../scripts/build.ts"
import { tooOld } from "../src/internal/cli/nodeVersion.ts"

describe("tooOld", () => {
  it("names the version that is needed, as the published package does", () => {
    for (const version of ["20.20.2", "22.18.9", "22.2.0"]) {
      assert.strictEqual(
        tooOld(version),
        `ballast needs Node ${engines.node.replace(">=", "")} or newer. This is Node ${version}.`
      )
    }
  })

  it("accepts what is new enough", () => {
    for (const version of ["22.19.0", "22.20.1", "24.0.0", "26.10.0"]) assert.isUndefined(tooOld(version))
  })
})
