import { Body, type Rejection } from "@ballast/gateway"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Scope } from "effect"
import type { HttpServerRequest } from "effect/http"
import { TestClock } from "effect/testing"
import { Readable } from "node:stream"
import { collected } from "../../../test/support/collected.ts"
import { ByteBudget, Hold } from "../src/internal/byteBudget.ts"
import * as jsonBounds from "../src/internal/jsonBounds.ts"
import * as jsonError from "../src/internal/jsonError.ts"
import * as surrogates from "../src/internal/surrogates.ts"

/** A request as far as a body's reader looks at it. */
const requestOf = (body: string | Uint8Array) => {
  const headers = { "content-type": "application/json" }
  const source = Object.assign(Readable.from([Buffer.from(body)]), { headers })
  return { source, headers } as unknown as HttpServerRequest.HttpServerRequest
}

/** A request, and its only piece of a body in a way that does not keep it. */
const watchedRequest = () => {
  const { headers } = requestOf("")
  const chunks = [Buffer.from(`"${"a".repeat(100_000)}"`)]
  const bytes = new WeakRef<object>(chunks[0]!)
  const source = new Readable({
    read() {
      this.push(chunks.pop() ?? null)
    }
  })
  return {
    bytes,
    request: { headers, source: Object.assign(source, { headers }) } as unknown as ReturnType<typeof requestOf>
  }
}

const read = (body: string | Uint8Array, options?: Body.Options) =>
  Effect.scoped(Body.make(options).read(requestOf(body)))

const refusal = (body: string | Uint8Array, options?: Body.Options): Effect.Effect<Rejection.Rejection, Body.Body> =>
  Effect.flip(read(body, options))

const bounds = { depth: 3, values: 10 }
const bytesOf = (text: string) => new TextEncoder().encode(text)
const measure = (text: string) => jsonBounds.measure(bytesOf(text), bounds)

/** Bytes that count how often they are looked at. */
const counted = (bytes: Uint8Array) => {
  let looks = 0
  const proxy = new Proxy(bytes, {
    get: (target, key) => {
      if (key === "subarray") return target.subarray.bind(target)
      if (typeof key === "string" && /^\d+$/.test(key)) looks++
      return Reflect.get(target, key, target)
    }
  })
  return { proxy, looks: () => looks }
}

describe("Body", () => {
  it.effect("gives the JSON with its text", () =>
    Effect.gen(function*() {
      const text = "{\"seed\":12345678901234567890,\"a\":\"é\"}"
      const body = yield* read(text)
      assert.strictEqual(body.text, text)
      assert.deepStrictEqual(body.json, JSON.parse(text))
    }))

  it.effect("keeps the digits of what is only passed on, where the request is written again", () =>
    Effect.gen(function*() {
      const { json } = yield* read("{\"tools\":[{\"maximum\":9223372036854775807}]}")
      assert.strictEqual(
        JSON.stringify({ ...Object(json), a: 1 }),
        "{\"tools\":[{\"maximum\":9223372036854775807}],\"a\":1}"
      )
    }))

  it.effect.each([["[", 129, "128 levels"], ["[0", 1, "unexpected end of the body"], ["\n", 9, "empty"]] as const)(
    "refuses %j, %d times",
    ([piece, times, text]) =>
      Effect.gen(function*() {
        const { case: name, detail } = yield* refusal(piece.repeat(times))
        assert.strictEqual(name, "MalformedJson")
        assert.include(detail, text)
      })
  )

  it.effect("takes a body of its largest size and none that is larger", () =>
    Effect.gen(function*() {
      yield* read("\"12345678\"", { maxBodySize: 10 })
      const { detail } = yield* refusal("\"123456789\"", { maxBodySize: 10 })
      assert.include(detail, "10 bytes, the gateway's BALLAST_MAX_BODY_SIZE")
    }))

  it.effect("mends an escaped half of a pair, and nothing else", () =>
    Effect.gen(function*() {
      const body = yield* read("{\"a\":\"\\ud83c!\",\"seed\":12345678901234567890}")
      assert.strictEqual(body.text, "{\"a\":\"\\ufffd!\",\"seed\":12345678901234567890}")
      assert.deepInclude(body.json, { a: "\ufffd!" })
    }))

  it("refuses options out of their bounds", () => {
    assert.throws(() => Body.make({ maxBodySize: Body.largest + 1 }), "maxBodySize")
    assert.throws(() => Body.make({ memory: 0 }), "memory")
  })

  describe("the memory of all bodies", () => {
    // Each counts 4 times its 5 bytes and 100 for its value.
    const options = { memory: 250 }

    it.effect("makes a body wait until another has been released", () =>
      Effect.gen(function*() {
        const bodies = Body.make(options)
        const [first, scope] = [yield* Scope.make(), yield* Scope.make()]
        const take = Effect.suspend(() => Scope.provide(bodies.read(requestOf("\"abc\"")), scope))
        yield* Scope.provide(bodies.read(requestOf("\"abc\"")), first)
        yield* take
        const third = yield* Effect.forkChild(take, { startImmediately: true })
        yield* Effect.promise(() => new Promise(setImmediate))
        yield* TestClock.adjust("500 millis")
        assert.isUndefined(third.pollUnsafe())
        yield* Scope.close(first, Exit.void)
        assert.strictEqual((yield* Fiber.join(third)).json, "abc")
        yield* Scope.close(scope, Exit.void)
        yield* Effect.scoped(Effect.andThen(bodies.read(requestOf("\"abc\"")), bodies.read(requestOf("\"abc\""))))
      }))

    it.effect("holds a body that is answered until its answer is there, has failed or is interrupted", () =>
      Effect.gen(function*() {
        const bodies = Body.make(options)
        const use = <A, E>(answer: Effect.Effect<A, E>) => bodies.use(requestOf("\"abc\""), () => answer)
        const answers = [
          Effect.void,
          Effect.fail("down"),
          Effect.interrupt,
          ...Array.from({ length: 2 }, () => Effect.never)
        ]
        const fibers = yield* Effect.forEach(
          answers,
          (answer) => Effect.forkChild(use(answer), { startImmediately: true })
        )
        yield* Effect.promise(() => new Promise(setImmediate))
        const third = yield* Effect.forkChild(use(Effect.succeed("third")), { startImmediately: true })
        yield* Effect.promise(() => new Promise(setImmediate))
        assert.isUndefined(third.pollUnsafe())
        yield* Fiber.interrupt(fibers.at(-1)!)
        assert.strictEqual(yield* Fiber.join(third), "third")
      }))

    it.live("keeps no bytes of a body while it is answered", () =>
      Effect.gen(function*() {
        const { bytes, request } = watchedRequest()
        const reached = Promise.withResolvers<void>()
        const answer = Effect.andThen(Effect.sync(() => reached.resolve()), Effect.never)
        yield* Effect.forkChild(Body.make().use(request, () => answer), { startImmediately: true })
        yield* Effect.promise(() => reached.promise)
        yield* collected(bytes)
      }))

    it.effect("keeps a body whose answer has begun as its values alone", () =>
      Effect.gen(function*() {
        const bodies = Body.make({ memory: 4_100 + 1_100 })
        const take = Effect.suspend(() => bodies.read(requestOf(`"${"a".repeat(998)}"`)))
        const first = yield* take
        const second = yield* Effect.forkChild(take, { startImmediately: true })
        yield* Effect.promise(() => new Promise(setImmediate))
        assert.isUndefined(second.pollUnsafe())
        first.begun()
        yield* Fiber.join(second)
      }))

    it.effect("refuses a body that has waited a second, and says when to come back", () =>
      Effect.gen(function*() {
        const bodies = Body.make(options)
        const take = bodies.read(requestOf("\"abc\""))
        yield* take
        yield* bodies.read(requestOf("\"abc\""))
        const third = yield* Effect.forkChild(Effect.flip(bodies.read(requestOf("\"abc\""))), {
          startImmediately: true
        })
        yield* Effect.promise(() => new Promise(setImmediate))
        yield* TestClock.adjust("1 second")
        const refused = yield* Fiber.join(third)
        assert.strictEqual(refused.case, "Busy")
        assert.isDefined(refused.retryAfter)
      }))

    it.effect("refuses a body that takes more than there is at all, and names the setting", () =>
      Effect.gen(function*() {
        const { case: name, detail } = yield* refusal("[1,2,3]", options)
        assert.strictEqual(name, "BodyTooLarge")
        assert.include(detail, "BALLAST_BODY_MEMORY")
      }))

    it.effect("refuses such a body before it is read, where it says its length, or else as soon as it shows", () =>
      Effect.gen(function*() {
        const bodies = Body.make({ memory: 400 })
        for (const headers of [{ "content-length": "101" }, {}]) {
          const source = Object.assign(Readable.from(Array.from({ length: 9 }, () => Buffer.alloc(50))), { headers })
          const request = { source, headers: { "content-type": "application/json", ...headers } }
          const refused = yield* Effect.flip(
            Effect.scoped(bodies.read(request as unknown as HttpServerRequest.HttpServerRequest))
          )
          assert.include(refused.detail, "BALLAST_BODY_MEMORY")
          assert.isFalse(source.readableEnded)
        }
      }))

    it.effect("is not lost by whoever gives up waiting", () =>
      Effect.gen(function*() {
        const budget = new ByteBudget(10)
        const first = new Hold(budget)
        first.take(8)
        const second = new Hold(budget)
        const waiting = yield* Effect.forkChild(second.wait(5), { startImmediately: true })
        assert.isTrue(second.take(1))
        yield* Fiber.interrupt(waiting)
        first.releaseAll()
        assert.strictEqual(budget.used, 1)
        second.releaseAll()
        assert.isTrue(second.take(100))
        assert.strictEqual(budget.used, 0)
      }))
  })
})

describe("jsonBounds", () => {
  it.each([
    ["[[[]]]", 4, undefined],
    ["[[[[]]]]", 4, "depth"],
    ["\"[[[[\\\"[[[[\"", 1, undefined],
    ["[1,2,3,4,5,6,7,8]", 9, undefined],
    ["[1,2,3,4,5,6,7,8,9,10]", 11, "values"]
  ])("measures %s", (text, values, exceeded) => {
    assert.deepStrictEqual(measure(text), { values, surrogates: false, exceeded } as jsonBounds.Measure)
  })

  it("sees escaped surrogates", () => {
    assert.isTrue(measure("[\"\\uD83C\"]").surrogates)
    assert.isFalse(measure("[\"\\\\uD83C\",\"\\u00e9\"]").surrogates)
  })
})

describe("surrogates", () => {
  it.each([
    ["\"\\ud83c\\udf0a\"", "\"\\ud83c\\udf0a\""],
    ["\"\\ud83c\"", "\"\\ufffd\""],
    ["\"\\udf0a\\ud83c\"", "\"\\ufffd\\ufffd\""],
    ["\"\\ud83c\\ud83c\\udf0a\"", "\"\\ufffd\\ud83c\\udf0a\""],
    ["\"\\\\ud83c\\n\"", "\"\\\\ud83c\\n\""]
  ])("mends %s", (text, mended) => {
    assert.strictEqual(surrogates.mend(text), mended)
    assert.isTrue((JSON.parse(surrogates.mend(text)) as string).isWellFormed())
  })
})

describe("work on a body grows as its size", () => {
  const none = { depth: Infinity, values: Infinity }
  it.each(["[", "[0,", "\n", "{\"a\":", "\"\\\"\",", "\\", "\"", "1", "-1e", "{},", "\"\\ud83c"])("for %j", (piece) => {
    const works = [
      (bytes: Uint8Array) => jsonBounds.measure(bytes, none),
      (bytes: Uint8Array) => jsonError.find(bytes)
    ]
    for (const work of works) {
      const [once, twice, fourfold] = [1, 2, 4].map((times) => {
        const { looks, proxy } = counted(bytesOf(piece.repeat(500 * times)))
        work(proxy)
        return looks()
      }) as [number, number, number]
      assert.isAtMost(fourfold, 2.2 * twice + 50)
      assert.isAtMost(twice, 2.2 * once + 50)
      assert.isAtMost(fourfold, 16 * 2000 * piece.length)
    }
  })
})
