import { SqliteClient } from "@ballast/sqlite"
import { Definition, Engine, Runner, type Service } from "@ballast/workflow"
import { NodeCrypto } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer } from "effect"
import { TestClock } from "effect/testing"
import { busy, echo, recorder, steps, until } from "./fixtures.ts"

const sqlite = Engine.layerSql().pipe(Layer.provide([SqliteClient.layer({ filename: ":memory:" }), NodeCrypto.layer]))

const boss = (deadline: string) => `services:\n  boss: { type: approval, deadline: ${deadline} }\n`

/** A run, as far as it comes. */
const begin = Effect.fnUntraced(function*(text: string, services: Readonly<Record<string, Service.Service>>) {
  const definition = yield* Definition.read({ name: "w", text, services })
  const runner = yield* Runner.Runner
  return { runner, fiber: yield* Effect.forkChild(runner.run(definition, {}, { id: "r" })) }
})

const provided = (
  services: Readonly<Record<string, Service.Service>>,
  onEvent?: Runner.Options["onEvent"],
  engine: typeof Engine.layerMemory = Engine.layerMemory
) => Effect.provide(Runner.layer({ services, onEvent }).pipe(Layer.provide(engine), Layer.orDie))

describe("waits beside calls in flight", () => {
  it.effect("an approval lets them run on, and what needs it begins at once", () => {
    const long = recorder(() => Effect.delay(Effect.succeed("long"), "1 hour"))
    const after = recorder(() => Effect.succeed("after"))
    let asked = 0
    return Effect.gen(function*() {
      const { fiber, runner } = yield* begin(
        `${
          steps(`- { id: long, service: long, needs: [ ] }
- { id: ask, service: boss, needs: [ ] }
- { id: after, service: after, needs: [ ask ] }`)
        }${boss("2d")}`,
        { long: long.service, after: after.service }
      )
      yield* until(() => asked === 1 && long.calls.length === 1)
      yield* TestClock.adjust("10 minutes")
      yield* runner.approve("r", "ask", { approved: true })
      yield* TestClock.adjust("1 second")
      yield* until(() => after.calls.length === 1)
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("50 minutes")
      assert.strictEqual(yield* Fiber.join(fiber), "after")
      assert.lengthOf(long.calls, 1)
    }).pipe(
      provided(
        { long: long.service, after: after.service },
        ({ _tag }) => Effect.sync(() => void (_tag === "Waiting" && asked++))
      )
    )
  })

  it.effect("so does a long wait between attempts", () => {
    const long = recorder(() => Effect.delay(Effect.succeed("long"), "10 hours"))
    let calls = 0
    const shaky = recorder(() => ++calls < 3 ? Effect.fail(busy) : Effect.succeed("shaky"))
    const services = { long: long.service, shaky: shaky.service }
    return Effect.gen(function*() {
      const { fiber } = yield* begin(
        steps(`- { id: long, service: long, needs: [ ] }
- { id: shaky, service: shaky, needs: [ ], retry: { times: 2, base: 1h, cap: 1h } }`),
        services
      )
      yield* until(() => shaky.calls.length === 1 && long.calls.length === 1)
      yield* TestClock.adjust("3 hours")
      yield* until(() => shaky.calls.length === 3)
      yield* TestClock.adjust("8 hours")
      assert.strictEqual(yield* Fiber.join(fiber), "shaky")
      assert.lengthOf(long.calls, 1)
    }).pipe(provided(services))
  })
})

describe("the deadline of an approval", () => {
  it.effect("is its own when that of the run is later", () => {
    let asked = 0
    return Effect.gen(function*() {
      const { fiber } = yield* begin(
        `${steps("- { id: ask, service: boss, onError: { default: none } }", "deadline: 3h")}${boss("2h")}`,
        {}
      )
      yield* until(() => asked === 1)
      yield* TestClock.adjust("2 hours")
      assert.strictEqual(yield* Fiber.join(fiber), "none")
    }).pipe(provided({}, ({ _tag }) => Effect.sync(() => void (_tag === "Waiting" && asked++))))
  })

  it.live("passes in a database too", () =>
    Effect.gen(function*() {
      const { fiber } = yield* begin(
        `${steps("- { id: ask, service: boss, onError: { default: none } }\n- service: echo")}${boss("1s")}`,
        { echo }
      )
      assert.strictEqual(yield* Fiber.join(fiber), "none")
    }).pipe(provided({ echo }, undefined, Layer.orDie(sqlite))))
})
