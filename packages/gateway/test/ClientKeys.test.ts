import { ClientKeys } from "@ballast/gateway"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Redacted } from "effect"

const passes = (keys: ReadonlyArray<string>, authorization: string | undefined) =>
  Exit.isSuccess(Effect.runSyncExit(ClientKeys.make(keys.map((key) => Redacted.make(key)))(authorization)))

describe("ClientKeys", () => {
  it("lets everyone pass when there are none", () => {
    assert.isTrue(passes([], undefined))
    assert.isTrue(passes([], "Bearer anything"))
  })

  it.each(["Bearer one", "bearer two", "BEARER  two "])("passes %j", (authorization) => {
    assert.isTrue(passes(["one", "two"], authorization))
  })

  it.each([
    undefined,
    "",
    "one",
    "Basic one",
    "Bearer",
    "Bearer ",
    "Bearer on",
    "Bearer onee",
    "Bearer ONE",
    "Bearer one two"
  ])(
    "refuses %j",
    (authorization) => {
      assert.isFalse(passes(["one", "two"], authorization))
    }
  )

  it("says nothing of the keys", () => {
    const error = Effect.runSync(Effect.flip(ClientKeys.make([Redacted.make("secret-one")])("Bearer guess")))
    assert.notInclude(JSON.stringify(error), "secret-one")
    assert.notInclude(JSON.stringify(error), "guess")
  })
})
