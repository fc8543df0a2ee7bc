import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Equal, Exit, Schema } from "effect"
import { inspect } from "node:util"
import * as rejection from "../../src/internal/rejection.ts"
import * as Outcome from "../../src/Outcome.ts"

class Closed extends Schema.TaggedError<Closed>()("Closed", { door: Schema.String, after: Schema.Number }) {
  override get message() {
    return `Door "${this.door}" is closed for ${this.after} s`
  }

  get [Outcome.key](): Outcome.Outcome {
    return Outcome.ignored({ retryable: this.after === 1 })
  }
}

class Locked extends Schema.TaggedError<Locked>()("Locked", { door: Schema.String }) {}

const message = "Door \"front\" is closed for 2 s"
const made = () => rejection.make(Closed, { door: "front", after: 2 })

describe("rejection", () => {
  describe("make", () => {
    it("gives an error of the class, with its tag, fields and message", () => {
      const error = made()
      assert.instanceOf(error, Closed)
      assert.instanceOf(error, Error)
      assert.deepStrictEqual({ ...error }, { _tag: "Closed", door: "front", after: 2 })
      assert.strictEqual(error._tag, "Closed")
      assert.strictEqual(error.name, "Closed")
      assert.strictEqual(error.message, message)
      assert.strictEqual(String(error), `Closed: ${message}`)
    })

    it("gives no stack of the policy's inside, and tells what it is", () => {
      const error = made()
      assert.strictEqual(error.stack, `Closed: ${message}`)
      assert.include(inspect(error), "door: 'front'")
      assert.strictEqual(Cause.pretty(Cause.fail(error)), `Closed: ${message}`)
    })

    it("takes a stack that somebody writes, for itself alone", () => {
      const error = made()
      error.stack = "cleaned"
      assert.strictEqual(error.stack, "cleaned")
      assert.deepStrictEqual(Object.keys(error), ["_tag", "door", "after"])
      assert.strictEqual(made().stack, `Closed: ${message}`)
    })

    it("is equal to one that was made the long way", () => {
      const error = new Closed({ door: "front", after: 2 })
      assert.deepStrictEqual(made(), error)
      assert.deepStrictEqual(Exit.fail(made()), Exit.fail(error))
      assert.notDeepEqual(rejection.make(Closed, { door: "back", after: 2 }), error)
      assert.isTrue(Equal.equals(made(), made()))
      assert.strictEqual(Object.prototype.toString.call(made()), Object.prototype.toString.call(error))
    })

    it("keeps the classes apart", () => {
      const error = rejection.make(Locked, { door: "front" })
      assert.instanceOf(error, Locked)
      assert.notInstanceOf(error, Closed)
      assert.notInstanceOf(made(), Locked)
      assert.strictEqual(error._tag, "Locked")
    })

    it("is judged, encoded and checked like every error of its class", () => {
      const error = made()
      assert.deepStrictEqual(error[Outcome.key], Outcome.ignored())
      assert.deepStrictEqual(Outcome.classify(Exit.fail(error)), Outcome.ignored())
      assert.isTrue(Schema.is(Closed)(error))
      assert.deepStrictEqual(Schema.encodeSync(Closed)(error), { _tag: "Closed", door: "front", after: 2 })
    })

    it.effect("fails when it is yielded, and is caught by its tag", () =>
      Effect.gen(function*() {
        const yielded = Effect.gen(function*() {
          return yield* made()
        })
        assert.strictEqual(yield* Effect.catchTag(yielded, "Closed", ({ door }) => Effect.succeed(door)), "front")
      }))

    it("leaves the limit of stack traces as it was", () => {
      const before = Error.stackTraceLimit
      made()
      assert.strictEqual(Error.stackTraceLimit, before)
    })
  })
})
