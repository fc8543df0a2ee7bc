import { assert, describe, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"

const main = fileURLToPath(new URL("../src/main.ts", import.meta.url))

describe("composed-app", () => {
  it("answers every question, without a key", async () => {
    const { DEEPSEEK_API_KEY: _, ...env } = process.env
    const { stderr, stdout } = await promisify(execFile)(process.execPath, [main], { env })
    assert.strictEqual(stderr, "")
    assert.strictEqual(stdout.match(/^Q: /gm)?.length, 3)
    assert.strictEqual(stdout.match(/^A: .+/gm)?.length, 3)
  }, 60_000)
})
