import { SqliteClient } from "@ballast/sqlite"
import { Definition, Engine, Runner, type Service } from "@ballast/workflow"
import { NodeCrypto } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer } from "effect"
import { broken, busy, echo, recorder, steps, until } from "./fixtures.ts"

const engine = Engine.layerSql().pipe(Layer.provide([SqliteClient.layer({ filename: ":memory:" }), NodeCrypto.layer]))

const provided = (services: Readonly<Record<string, Service.Service>>) =>
  Effect.provide(Runner.layer({ services }).pipe(Layer.provide(engine)))

const begin = Effect.fnUntraced(function*(text: string, services: Readonly<Record<string, Service.Service>>) {
  const definition = yield* Definition.read({ name: "w", text, services })
  const runner = yield* Runner.Runner
  return { runner, fiber: yield* Effect.forkChild(runner.run(definition, { n: 1 }, { id: "r" })) }
})

describe("Engine.layerSql", () => {
  it.live("runs steps side by side, tries again, and gives results and failures as in memory", () => {
    let calls = 0
    const shaky = recorder((input) => ++calls < 3 ? Effect.fail(busy) : Effect.succeed(input))
    const services = { shaky: shaky.service, echo, broken: broken() }
    const text = steps(
      `- { parallel: [ { id: a, service: shaky, retry: { times: 2, base: 1ms } }, { id: b, service: echo, input: "\${input.n}" } ] }
- { id: each, service: echo, forEach: { in: "\${[1, 2, 3]}" } }
- { id: lost, service: broken, onError: { default: 0 } }
- { id: last, service: broken }`,
      "finally: [ { id: end, service: echo } ]"
    )
    return Effect.gen(function*() {
      const { fiber } = yield* begin(text, services)
      assert.strictEqual((yield* Effect.flip(Fiber.join(fiber))).message, "Run r failed in step last: broken")
      assert.deepStrictEqual(shaky.calls.map(({ attempt, idempotencyKey }) => [attempt, idempotencyKey]), [
        [1, "r/a"],
        [2, "r/a"],
        [3, "r/a"]
      ])
    }).pipe(provided(services))
  })

  it.live("cancels: the call is interrupted, and finally runs", () => {
    let began = 0
    let interrupted = 0
    const last = recorder(() => Effect.succeed(1))
    const services = {
      waits: {
        call: () =>
          Effect.andThen(
            Effect.sync(() => began++),
            Effect.onInterrupt(Effect.never, () => Effect.sync(() => interrupted++))
          )
      },
      last: last.service
    }
    return Effect.gen(function*() {
      const { fiber, runner } = yield* begin(steps("- service: waits", "finally: [ { service: last } ]"), services)
      yield* until(() => began > 0)
      yield* runner.cancel("r")
      assert.isTrue(Exit.isFailure(yield* Fiber.await(fiber)))
      assert.deepStrictEqual([began, interrupted, last.calls.length], [1, 1, 1])
    }).pipe(provided(services))
  })
})
