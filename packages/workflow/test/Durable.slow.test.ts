import { assert, describe, it } from "@effect/vitest"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const program = fileURLToPath(new URL("./support/durable.ts", import.meta.url))

const text = `workflow:
  name: w
  steps:
    - { id: first, service: count }
    - { id: second, service: count }
    - { id: third, service: gated }
    - { id: ask, service: boss }
    - { id: last, service: count, input: "\${steps.third.output}" }
  output: { sum: "\${output}", by: "\${steps.ask.output.by}" }
services:
  boss: { type: approval, deadline: 1h }
`

/** Starts the program, and waits until it prints something; kills it then. */
const killAt = async (printed: string, args: ReadonlyArray<string>) => {
  const child = spawn(process.execPath, [program, ...args], { stdio: ["ignore", "pipe", "inherit"] })
  const ended = once(child, "exit")
  let output = ""
  for await (const part of child.stdout.setEncoding("utf8")) {
    output += part
    if (output.includes(printed)) break
  }
  child.kill("SIGKILL")
  await ended
  assert.include(output, printed)
}

const finish = async (args: ReadonlyArray<string>): Promise<unknown> => {
  const child = spawn(process.execPath, [program, ...args], { stdio: ["ignore", "pipe", "inherit"] })
  let output = ""
  child.stdout.setEncoding("utf8").on("data", (part: string) => output += part)
  const [code] = await once(child, "close")
  assert.strictEqual(code, 0)
  return JSON.parse(output.trim().split("\n").at(-1) ?? "")
}

describe("a run on SQLite", { timeout: 60_000 }, () => {
  it("goes on after kill -9 with the definition that it began with: what ended is not called again, effects are there once", async () => {
    const folder = mkdtempSync(join(tmpdir(), "ballast-flow-"))
    try {
      writeFileSync(join(folder, "flow.yaml"), text)
      await killAt("in flight\n", [folder])
      writeFileSync(join(folder, "gate"), "")
      writeFileSync(
        join(folder, "flow.yaml"),
        text.replace("  output:", "    - { id: another, service: count }\n  output:")
      )
      await killAt("waiting\n", [folder])
      assert.deepStrictEqual(await finish([folder, "Ada"]), { sum: 4, by: "Ada" })
      const calls = readFileSync(join(folder, "calls"), "utf8").trim().split("\n")
      assert.deepStrictEqual(calls, ["first", "second", "third", "third", "last"])
      const effects = readdirSync(folder).filter((name) => name.startsWith("effect-")).sort()
      assert.deepStrictEqual(effects, ["effect-r-first", "effect-r-last", "effect-r-second", "effect-r-third"])
      // The same run again: its result is there.
      assert.deepStrictEqual(await finish([folder]), { sum: 4, by: "Ada" })
      assert.lengthOf(readFileSync(join(folder, "calls"), "utf8").trim().split("\n"), 5)
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})
