import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { setTimeout } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { numbers } from "../../../test/support/numbers.ts"
import type { Options } from "./support/process.ts"
import * as Recorder from "./support/recorder.ts"

const program = fileURLToPath(new URL("./support/process.ts", import.meta.url))

/** Runs in a process, which all are somewhere else when it is killed. */
const runs = 10

/** Kills of the process: 5 times 10 runs are 50 moments. More of them take minutes: `BALLAST_KILLS=50`. */
const kills = Number(process.env.BALLAST_KILLS ?? 5)

/** Twenty steps, of each kind, over a service. */
const textFor = (url: string) => {
  const service = (name: string) => `  ${name}: { type: http, url: "${url}/${name}" }\n`
  const line = Array.from({ length: 12 }, (_, index) => `    - { id: s${index}, service: sum }\n`).join("")
  return `workflow:
  name: twenty
  steps:
${line}    - { id: flaky, service: flaky, retry: { times: 2, base: 50ms } }
    - parallel: [ { id: p0, service: sum }, { id: p1, service: sum }, { id: p2, service: same } ]
    - { id: each, service: sum, forEach: { in: "\${[1, 2, 3, 4, 5]}", concurrency: 2 } }
    - { id: skipped, service: sum, condition: "\${input < 0}" }
    - { id: last, service: same, input: [ "\${steps.flaky.output}", "\${steps.parallel.output}", "\${steps.each.output}", "\${output}" ] }
  finally:
    - { id: end, service: same, input: "\${run.id}" }
services:
${["sum", "flaky", "same"].map(service).join("")}`
}

const keysOf = (id: string) =>
  [
    ...Array.from({ length: 12 }, (_, index) => `s${index}`),
    "flaky",
    "p0",
    "p1",
    "p2",
    ...[0, 1, 2, 3, 4].map((index) => `each[${index}]`),
    "last",
    "end"
  ].map((step) => `${id}/${step}`)

const outputOf = (number: number) => [
  number + 12,
  { p0: number + 13, p1: number + 13, p2: number + 12 },
  [2, 3, 4, 5, 6],
  null
]

/** A process that has loaded its modules and waits for its beginning. */
const start = async (options: Options) => {
  const child = spawn(process.execPath, [program, JSON.stringify(options)], { stdio: ["pipe", "pipe", "inherit"] })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const ended = once(child, "exit")
  await lines.next()
  return { child, lines, ended }
}

describe("runs of twenty steps", { timeout: 600_000 }, () => {
  it.live(`killed at ${runs * kills} random moments give what they give undisturbed; each effect is there once`, () =>
    Effect.gen(function*() {
      const next = numbers(20)
      const recorder = yield* Recorder.make(() => next(30))
      const folder = yield* Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(join(tmpdir(), "ballast-killed-"))),
        (path) => Effect.sync(() => rmSync(path, { recursive: true }))
      )
      const options = { database: join(folder, "runs.db"), file: join(folder, "twenty.yaml") }
      writeFileSync(options.file, textFor(recorder.url))
      const requests = () => recorder.requests.length
      // Together less than the runs need, so that each kill meets them all.
      const span = Math.floor((runs * keysOf("r0").length) / kills)
      yield* Effect.promise(async () => {
        let beside = start({ ...options, runs })
        for (let kill = 0; kill < kills; kill++) {
          const { child, ended } = await beside
          beside = start({ ...options, runs: kill === kills - 1 ? runs + 1 : runs })
          const until = requests() + 1 + next(span)
          child.stdin.write("\n")
          while (requests() < until) await setTimeout(1)
          child.kill("SIGKILL")
          await ended
        }
        const again = requests() - recorder.effects.size
        const { child, ended, lines } = await beside
        child.stdin.write("\n")
        const { value = "" } = await lines.next()
        await ended
        // The last one was not disturbed.
        assert.deepStrictEqual(JSON.parse(value), Array.from({ length: runs + 1 }, (_, number) => outputOf(number)))
        console.log(`${kills} kills of ${runs} runs; ${requests()} requests, about ${again} of them made again`)
      })
      const keys = Array.from({ length: runs + 1 }, (_, number) => keysOf(`r${number}`)).flat()
      assert.deepStrictEqual([...recorder.effects.keys()].sort(), keys.sort())
    }))
})
