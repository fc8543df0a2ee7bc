import { AnswerMemory } from "@ballast/chat"
import { Undici } from "@ballast/deepseek"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Stream } from "effect"
import type * as Http from "node:http"
import { bare, on, reasonOf, request } from "../support/client.ts"
import { serve } from "../support/loopback.ts"
import { completion } from "../support/wire.ts"

const KiB = 1024
const MiB = 1024 * KiB
const capacity = 256 * KiB

/** A budget that remembers the most that was held at once. */
const watched = () => {
  const memory = AnswerMemory.make(capacity)
  const peak = { bytes: 0 }
  const hold: AnswerMemory.AnswerMemory["hold"] = (scope) =>
    Effect.map(memory.hold(scope), (hold): AnswerMemory.Hold => ({
      turn: hold.turn,
      set: (bytes) => {
        const hasRoom = hold.set(bytes)
        peak.bytes = Math.max(peak.bytes, Effect.runSync(memory.inspect).reading)
        return hasRoom
      }
    }))
  return { peak, inspect: memory.inspect, keep: memory.keep, hold }
}

const whole = JSON.stringify(completion({ content: "x".repeat(MiB) }))

const answerWhole: Http.RequestListener = (_, response) =>
  void response.writeHead(200, { "content-type": "application/json" }).end(whole)

const within = (memory: AnswerMemory.AnswerMemory) => Effect.provideService(AnswerMemory.Current, memory)

describe("the memory for answers", () => {
  it.live("is shared by all that are read at once, and each comes to its end", () =>
    Effect.gen(function*() {
      const memory = watched()
      const deepseek = yield* on(Undici.layer(), { ...bare, baseUrl: yield* serve(answerWhole) })
      const contents = yield* Effect.all(
        Array.from({ length: 8 }, () =>
          Effect.map(deepseek.complete(request), ({ choices: [{ message }] }) => message.content?.length)),
        { concurrency: "unbounded" }
      ).pipe(within(memory))
      assert.deepStrictEqual(
        contents,
        Array.from({ length: 8 }, () =>
          MiB)
      )
      // One answer, and of each other what had come before there was no room.
      assert.isAbove(memory.peak.bytes, MiB)
      assert.isBelow(memory.peak.bytes, 3 * MiB)
      assert.strictEqual((yield* memory.inspect).reading, 0)
    }))

  it.live("is given back by a call that is interrupted or past its deadline while it waits", () =>
    Effect.gen(function*() {
      const memory = AnswerMemory.make(capacity)
      const baseUrl = yield* serve(answerWhole)
      const blocked = yield* Effect.scoped(Effect.gen(function*() {
        yield* memory.keep(yield* Effect.scope, 2 * capacity)
        const deepseek = yield* on(Undici.layer(), { ...bare, baseUrl, deadlines: { attempt: "100 millis" } })
        const late = yield* reasonOf(deepseek.complete(request))
        const patient = yield* on(Undici.layer(), { ...bare, baseUrl })
        const fiber = yield* Effect.forkChild(patient.complete(request))
        while ((yield* memory.inspect).reading === 0) yield* Effect.sleep("1 millis")
        yield* Fiber.interrupt(fiber)
        return late
      })).pipe(within(memory))
      assert.deepInclude(blocked, { _tag: "DeadlineExceeded" })
      assert.deepStrictEqual(yield* memory.inspect, { capacity, reading: 0, kept: 0 })
    }))

  it.live("ends a stream whose event has no room, and is given back by one that ends or is left", () =>
    Effect.gen(function*() {
      const size = 100 * KiB
      const baseUrl = yield* serve((_, response) =>
        void response.writeHead(200, { "content-type": "text/event-stream" }).write(`data: ${"x".repeat(size)}`)
      )
      const memory = AnswerMemory.make(capacity)
      const { stream } = yield* on(Undici.layer(), { ...bare, baseUrl })
      const read = () => Effect.forkChild(within(memory)(reasonOf(Stream.runDrain(stream(request)))))
      const [first, second] = [yield* read(), yield* read()]
      while ((yield* memory.inspect).reading < 2 * size) yield* Effect.sleep("1 millis")
      const third = yield* Fiber.join(yield* read())
      assert.deepInclude(third, {
        _tag: "MalformedBody",
        detail: "an event that is too large while other large answers are read"
      })
      yield* Fiber.interrupt(first)
      yield* Fiber.interrupt(second)
      assert.strictEqual((yield* memory.inspect).reading, 0)
    }))
})
