import { Layered } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Channel, Effect, Exit, Fiber, Scope, Stream } from "effect"
import { setFlagsFromString } from "node:v8"

/** A pull that gives numbers from 1 on, and then ends. */
const counting = (most: number) => {
  let given = 0
  return Effect.suspend((): Effect.Effect<readonly [number, ...Array<number>], Cause.Done | "down"> =>
    ++given > most ? Cause.done() : Effect.succeed([given])
  )
}

const layer = (name: string, log: Array<string>) => ({
  before: () => {
    log.push(`before ${name}`)
    return undefined
  },
  items: ([first]: readonly [number, ...Array<number>]) => {
    log.push(`${name} ${first}`)
  },
  failed: <E>(cause: Cause.Cause<E>) => {
    log.push(`failed ${name}`)
    return Effect.failCause(cause)
  }
})

describe("Layered", () => {
  it.effect("asks from the outside in, and tells from the inside out", () =>
    Effect.gen(function*() {
      const log: Array<string> = []
      const pull = Layered.around(Layered.around(counting(1), layer("inner", log)), layer("outer", log))
      assert.deepStrictEqual(yield* pull, [1])
      assert.isTrue(Exit.isFailure(yield* Effect.exit(pull)))
      assert.deepStrictEqual(log, [
        "before outer",
        "before inner",
        "inner 1",
        "outer 1",
        "before outer",
        "before inner",
        "failed inner",
        "failed outer"
      ])
    }))

  it.effect("tells only those further out of what a layer puts in a pull's place", () =>
    Effect.gen(function*() {
      const log: Array<string> = []
      const late = { ...layer("late", log), before: () => Effect.fail("late" as const) }
      const inner = Layered.around(counting(1), layer("inner", log))
      const pull = Layered.around(Layered.around(inner, late), layer("outer", log))
      assert.strictEqual(yield* Effect.flip(pull), "late")
      assert.deepStrictEqual(log, ["before outer", "failed outer"])
    }))

  it.effect("goes on as a layer says after a failure", () =>
    Effect.gen(function*() {
      const log: Array<string> = []
      const mended = Layered.around(counting(0), { failed: () => Effect.succeed([7] as const) })
      assert.deepStrictEqual(yield* Layered.around(mended, layer("outer", log)), [7])
    }))

  it.effect("looks through a pull that has switched", () =>
    Effect.gen(function*() {
      const log: Array<string> = []
      const source = counting(2)
      let opened: Effect.Effect<readonly [number, ...Array<number>], unknown> = source
      const pull = Layered.switching(() => opened)
      assert.deepStrictEqual(yield* pull, [1])
      opened = Layered.around(source, layer("inner", log))
      assert.deepStrictEqual(yield* Layered.around(pull, layer("outer", log)), [2])
      assert.deepStrictEqual(log, ["before outer", "before inner", "inner 2", "outer 2"])
    }))

  it.effect("runs no layer for a pull that is interrupted", () =>
    Effect.gen(function*() {
      const log: Array<string> = []
      const never: Effect.Effect<readonly [number, ...Array<number>]> = Effect.never
      const fiber = yield* Effect.forkChild(Layered.around(never, layer("inner", log)), { startImmediately: true })
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(log, ["before inner"])
    }))

  it.effect("opens a stream in the scope of its consumer", () =>
    Effect.gen(function*() {
      const log: Array<string> = []
      const stream = Layered.stream((scope) =>
        Effect.as(Scope.addFinalizer(scope, Effect.sync(() => log.push("closed"))), counting(2))
      )
      assert.deepStrictEqual(yield* Stream.runCollect(Stream.tap(stream, (n) => Effect.sync(() => log.push(`${n}`)))), [
        1,
        2
      ])
      assert.deepStrictEqual(log, ["1", "2", "closed"])
    }))

  it.effect("fails with what opening a stream fails with", () =>
    Effect.gen(function*() {
      const stream = Layered.stream<string, never, never, string>(() => Effect.fail("closed"))
      assert.deepStrictEqual(yield* Effect.exit(Stream.runDrain(stream)), Exit.fail("closed"))
      const either = Stream.catch(stream, (error) => Stream.succeed(error))
      assert.deepStrictEqual(yield* Stream.runCollect(either), ["closed"])
    }))

  it.effect("chooses a stream each time that it is opened", () =>
    Effect.gen(function*() {
      let opened = 0
      const stream = Layered.suspend(() => Stream.succeed(++opened))
      assert.deepStrictEqual([yield* Stream.runCollect(stream), yield* Stream.runCollect(stream)], [[1], [2]])
    }))

  it.effect("lets an effect choose a stream each time that it is opened, and fails as it does", () =>
    Effect.gen(function*() {
      let opened = 0
      const stream = Layered.unwrap(Effect.sync(() => Stream.succeed(++opened)))
      assert.deepStrictEqual([yield* Stream.runCollect(stream), yield* Stream.runCollect(stream)], [[1], [2]])
      const failing = Layered.unwrap(Effect.as(Effect.fail("down"), Stream.succeed(1)))
      assert.strictEqual(yield* Effect.flip(Stream.runCollect(failing)), "down")
    }))

  it("leaves no stream among old objects", () => {
    setFlagsFromString("--allow-natives-syntax")
    const isYoung = new Function("u", "return %InYoungGeneration(u)")
    const open = () => Effect.succeed(counting(1))
    // A collection between two steps may move any object.
    const streams = Array.from({ length: 9 }, () => Layered.stream(open))
    assert.isTrue(streams.some((stream) => isYoung(Channel.toTransform(Stream.toChannel(stream)))))
  })
})
