import { type InferenceError, Tensor } from "@ballast/inference"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, References, Result, Schedule } from "effect"
import { TestClock } from "effect/testing"
import * as Fs from "node:fs"
import { folder, loop, pick, reached, scale, serve, write } from "./fixtures.ts"
import { quiet } from "./quiet.ts"

const rows = (count: number, from: number) =>
  Tensor.makeUnsafe("FP32", [count, 4], Float32Array.from({ length: count * 4 }, (_, at) => from + at / 7))

const index = (value: bigint) => Tensor.makeUnsafe("INT64", [1], new BigInt64Array([value]))

/** Runs about as long as `trips` says: ten million take seconds. */
const trips = (count: bigint) => ({
  inputs: {
    x: Tensor.makeUnsafe("FP32", [1], new Float32Array([0])),
    n: Tensor.makeUnsafe("INT64", [1], new BigInt64Array([count]))
  }
})

/** The processes of sessions that this process has started. */
const sessionProcesses = (): ReadonlyArray<number> =>
  Fs.readdirSync("/proc/self/task").flatMap((thread) =>
    Fs.readFileSync(`/proc/self/task/${thread}/children`, "utf8").split(" ").filter(Boolean).map(Number)
  ).filter((pid) => Fs.readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("sessionWorker"))

const reason = <A>(exit: Exit.Exit<A, InferenceError.InferenceError>): string =>
  Exit.match(exit, {
    onSuccess: () => "answered",
    onFailure: (cause) => cause.reasons.map((it) => it._tag === "Fail" ? it.error.reason : it._tag).join()
  })

describe("the queue", () => {
  quiet("gives in a batch what each call gives alone", () =>
    Effect.gen(function*() {
      const path = yield* folder
      write(path, "batched", "1", { model: scale(1 / 3), yaml: "instances: 1\nbatching: { maxSize: 16 }" })
      write(path, "late", "1", { model: scale(1 / 3), yaml: "instances: 1\nbatching: { maxSize: 16, delay: 5ms }" })
      write(path, "single", "1", { model: scale(1 / 3), yaml: "instances: 1" })
      const models = yield* serve({ folder: path })
      const calls = Array.from({ length: 60 }, (_, at) => rows(at % 5, at * 1.7))
      const answers = (name: string) =>
        Effect.forEach(calls, (x) => models.infer(name, undefined, { inputs: { x } }), { concurrency: "unbounded" })
      const outputs = (all: ReadonlyArray<{ readonly outputs: object }>) => all.map(({ outputs }) => outputs)
      const alone = outputs(yield* answers("single"))
      assert.deepStrictEqual(outputs(yield* answers("batched")), alone)
      assert.deepStrictEqual(outputs(yield* answers("late")), alone)
    }))

  quiet("does not let one caller's bad input fail the others of its batch", () =>
    Effect.gen(function*() {
      const path = yield* folder
      write(path, "pick", "1", { model: pick(), yaml: "instances: 1\nbatching: { maxSize: 8 }" })
      const models = yield* serve({ folder: path })
      yield* reached(models, "pick", "1", "ready")
      const call = (value: bigint) => Effect.exit(models.infer("pick", undefined, { inputs: { i: index(value) } }))
      const exits = yield* Effect.forEach([0n, 1n, 9n, 2n, 3n, -9n], call, { concurrency: "unbounded" })
      assert.deepStrictEqual(exits.map(reason), [
        "answered",
        "answered",
        "ModelFailed",
        "answered",
        "answered",
        "ModelFailed"
      ])
      const found = exits.map((exit) => Exit.isSuccess(exit) ? exit.value.outputs["y"]?.data[0] : undefined)
      assert.deepStrictEqual(found, [10, 11, undefined, 12, 13, undefined])
    }))

  quiet("is bounded, and a caller that leaves frees its place", () =>
    Effect.gen(function*() {
      const path = yield* folder
      write(path, "loop", "1", { model: loop(), yaml: "instances: 1\nqueue: 2" })
      const models = yield* serve({ folder: path })
      yield* reached(models, "loop", "1", "ready")
      const call = Effect.exit(models.infer("loop", undefined, trips(100_000n)))
      const running = yield* Effect.forkChild(call, { startImmediately: true })
      const waiting = yield* Effect.forkChild(call, { startImmediately: true })
      const leaving = yield* Effect.forkChild(call, { startImmediately: true })
      assert.strictEqual((yield* models.list)[0]?.queued, 2)
      assert.strictEqual(reason(yield* call), "Overloaded")
      yield* Fiber.interrupt(leaving)
      assert.strictEqual((yield* models.list)[0]?.queued, 1)
      const next = yield* Effect.forkChild(call, { startImmediately: true })
      // The run goes on without its caller, and the others come after it.
      yield* Fiber.interrupt(running)
      assert.strictEqual((yield* models.list)[0]?.inFlight, 2)
      assert.deepStrictEqual([yield* Fiber.join(waiting), yield* Fiber.join(next)].map(reason), [
        "answered",
        "answered"
      ])
    }))

  quiet("may be none: a call that finds no idle session is refused", () =>
    Effect.gen(function*() {
      const path = yield* folder
      write(path, "loop", "1", { model: loop(), yaml: "instances: 1\nqueue: 0" })
      const models = yield* serve({ folder: path })
      yield* reached(models, "loop", "1", "ready")
      const call = Effect.exit(models.infer("loop", undefined, trips(100_000n)))
      const running = yield* Effect.forkChild(call, { startImmediately: true })
      assert.strictEqual(reason(yield* call), "Overloaded")
      assert.strictEqual(reason(yield* Fiber.join(running)), "answered")
      assert.strictEqual(reason(yield* call), "answered")
    }))

  quiet("ends a process whose run passes its deadline, and starts another", () =>
    Effect.gen(function*() {
      const path = yield* folder
      write(path, "loop", "1", { model: loop(), yaml: "instances: 1\nruntime: process\ndeadline: 1500ms\nqueue: 1" })
      const models = yield* serve({ folder: path })
      yield* reached(models, "loop", "1", "ready")
      const exits = yield* Effect.forEach(
        [10_000_000_000n, 1n],
        (count) => Effect.exit(models.infer("loop", undefined, trips(count))),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(exits.map(reason), ["DeadlineExceeded", "DeadlineExceeded"])
      const again = models.infer("loop", undefined, trips(1n)).pipe(Effect.result)
      const answer = yield* Effect.repeat(again, { until: Result.isSuccess })
      assert.strictEqual(Result.isSuccess(answer) && answer.success.outputs["y"]?.data[0], 0)
    }))

  it.effect("gives a call that waits for its model to load one deadline for wait and run", () =>
    Effect.gen(function*() {
      const path = yield* folder
      write(path, "loop", "1", { model: loop(), yaml: "instances: 1\nruntime: process\ndeadline: 30s" })
      const models = yield* serve({ folder: path, interval: "1 hour" })
      const call = yield* Effect.forkChild(Effect.exit(models.infer("loop", undefined, trips(10_000_000_000n))), {
        startImmediately: true
      })
      yield* TestClock.adjust("20 seconds")
      const ready = Effect.map(models.list, ([it]) => it?.state === "ready" && it.inFlight === 1)
      yield* TestClock.withLive(Effect.repeat(ready, { until: Boolean, schedule: Schedule.spaced("10 millis") }))
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(reason(yield* Fiber.join(call)), "DeadlineExceeded")
      // The process has its whole deadline for the run.
      yield* TestClock.adjust("20 seconds")
    }).pipe(Effect.provideService(References.MinimumLogLevel, "None")))

  quiet("fails the run of a process that dies, and no call that waits", () =>
    Effect.gen(function*() {
      const path = yield* folder
      write(path, "loop", "1", { model: loop(), yaml: "instances: 1\nruntime: process" })
      const models = yield* serve({ folder: path })
      yield* reached(models, "loop", "1", "ready")
      const call = (count: bigint) =>
        Effect.forkChild(Effect.exit(models.infer("loop", undefined, trips(count))), { startImmediately: true })
      const running = yield* call(10_000_000_000n)
      const waiting = [yield* call(1n), yield* call(2n)]
      const [child] = sessionProcesses()
      if (child !== undefined) process.kill(child, "SIGKILL")
      assert.strictEqual(reason(yield* Fiber.join(running)), "ModelFailed")
      for (const it of waiting) assert.strictEqual(reason(yield* Fiber.join(it)), "answered")
    }))

  quiet("lets the last calls of a version end before it is released", () =>
    Effect.gen(function*() {
      const path = yield* folder
      write(path, "loop", "1", { model: loop(), yaml: "instances: 1" })
      const models = yield* serve({ folder: path })
      yield* reached(models, "loop", "1", "ready")
      const running = yield* Effect.forkChild(Effect.exit(models.infer("loop", undefined, trips(100_000n))), {
        startImmediately: true
      })
      const unloading = yield* Effect.forkChild(models.unload("loop", "1"), { startImmediately: true })
      assert.strictEqual((yield* models.list)[0]?.state, "draining")
      assert.strictEqual(reason(yield* Effect.exit(models.infer("loop", "1", trips(1n)))), "NotReady")
      yield* Fiber.join(unloading)
      assert.strictEqual((yield* models.list)[0]?.state, "unloaded")
      assert.strictEqual(reason(yield* Fiber.join(running)), "answered")
    }))
})
