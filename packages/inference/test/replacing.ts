/**
 * Replaces a model again and again under 200 callers, and prints what came of it. `Replacement.slow.test.ts` runs it in a process of its own,
 * whose memory is that of the models and of nothing else.
 */
import { Effect, Fiber, References } from "effect"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { folder, golden, heavy, reached, row, serve, write } from "./fixtures.ts"

export interface Outcome {
  readonly calls: number
  /** Answers that were not those of the version that they name. */
  readonly wrong: number
  readonly errors: number
  readonly versions: ReadonlyArray<string>
  /** Megabytes of the process after each replacement. */
  readonly megabytes: ReadonlyArray<number>
}

setFlagsFromString("--expose-gc")
const collect: () => void = runInNewContext("gc")

const program = Effect.gen(function*() {
  const replacements = Number(process.argv[2])
  const path = yield* folder
  const add = (version: number) =>
    write(path, "m", String(version), {
      model: heavy(version),
      yaml: golden(version, "batching: { maxSize: 32 }\nqueue: 1000")
    })
  add(1)
  const models = yield* serve({ folder: path })
  yield* reached(models, "m", "1", "ready")

  let over = false
  let [calls, wrong] = [0, 0]
  const versions = new Set<string>()
  const caller = (at: number) =>
    Effect.gen(function*() {
      const values = [at + 1, 1, 1, 1]
      while (!over) {
        const { outputs, version } = yield* models.infer("m", undefined, { inputs: { x: row(...values) } })
        const right = values.map((value) => Math.fround(value * Number(version)))
        if (String(outputs["y"]?.data) !== String(right)) wrong++
        versions.add(version)
        calls++
      }
    })
  const callers = yield* Effect.forkChild(
    Effect.forEach(Array.from({ length: 200 }, (_, at) => at), caller, { concurrency: "unbounded", discard: true })
  )

  const megabytes: Array<number> = []
  for (let version = 2; version < 2 + replacements; version++) {
    add(version)
    yield* reached(models, "m", String(version), "ready")
    yield* reached(models, "m", String(version - 1), "unloaded")
    collect()
    megabytes.push(Math.round(process.memoryUsage.rss() / 2 ** 20))
  }
  over = true
  yield* Fiber.join(callers)
  const errors = (yield* models.list).reduce((sum, { errors }) => sum + errors, 0)
  const outcome: Outcome = { calls, wrong, errors, versions: [...versions], megabytes }
  console.log(JSON.stringify(outcome))
})

await Effect.runPromise(Effect.provideService(Effect.scoped(program), References.MinimumLogLevel, "None"))
