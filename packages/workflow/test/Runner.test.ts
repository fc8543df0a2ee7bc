import { Definition, Engine, type Run, Runner } from "@ballast/workflow"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Result, Schema } from "effect"
import { TestClock } from "effect/testing"
import { broken, busy, echo, type Given, invoice, recorder, run, slow, steps, until } from "./fixtures.ts"

/** Runs while the clock goes on as far as it must. */
const finish = (text: string, given?: Given) =>
  Effect.gen(function*() {
    const events: Array<Run.Event> = []
    const fiber = yield* Effect.forkChild(run(text, { ...given, events }))
    const ended = () => fiber.pollUnsafe() !== undefined
    yield* until(() => ended() || events.length > 0)
    while (!ended()) {
      yield* TestClock.adjust("1 second")
      let turns = 0
      yield* until(() => ended() || turns++ > 2)
    }
    return yield* Fiber.join(fiber)
  })

const output = (text: string, given?: Given) =>
  Effect.map(finish(text, given), ({ result }) => Result.match(result, { onSuccess: (it) => it, onFailure: String }))

const reason = (text: string, given?: Given) =>
  Effect.map(
    finish(text, given),
    ({ result }) => Result.isFailure(result) ? `${result.failure.step}: ${result.failure.reason}` : result.success
  )

const ocr = (amount: number, failures = 0) => {
  let calls = 0
  return recorder(() => calls++ < failures ? Effect.fail(busy) : Effect.succeed({ amount }))
}

const invoiceServices = (amount: number, failures = 0, enhancement = slow(4000, "image")) => {
  const extraction = ocr(amount, failures)
  const check = recorder((input) => Effect.succeed({ checked: input }))
  return {
    extraction,
    check,
    services: { image_enhancement: enhancement, ocr_extraction: extraction.service, compliance_check: check.service }
  }
}

describe("Runner", () => {
  describe("the invoice", () => {
    it.effect("is checked when its amount is over 1,000", () =>
      Effect.gen(function*() {
        const { check, services } = invoiceServices(1000.5)
        assert.deepStrictEqual(yield* output(invoice, { services }), { checked: { amount: 1000.5 } })
        assert.deepStrictEqual(check.calls.map(({ idempotencyKey }) => idempotencyKey), ["run-1/compliance_check"])
      }))

    it.effect("is not checked when it is not", () =>
      Effect.gen(function*() {
        const { check, services } = invoiceServices(1000)
        const { result, told } = yield* finish(invoice, { services })
        assert.deepStrictEqual([result, check.calls], [Result.succeed(null), []])
        assert.strictEqual(told.at(-1), "Skipped compliance_check")
      }))

    it.effect("fails when its enhancement takes 6 seconds, and the call is interrupted after 5", () =>
      Effect.gen(function*() {
        let interruptedAfter: unknown
        const enhancement = recorder(() =>
          Effect.never.pipe(
            Effect.onInterrupt(() =>
              Effect.clockWith((clock) => Effect.sync(() => interruptedAfter = clock.currentTimeMillisUnsafe()))
            )
          )
        )
        const { extraction, services } = invoiceServices(1, 0, enhancement.service)
        assert.strictEqual(yield* reason(invoice, { services }), "image_enhancement: it took longer than 5s")
        assert.deepStrictEqual([interruptedAfter, enhancement.calls.length, extraction.calls], [5000, 1, []])
        assert.strictEqual(
          yield* reason(invoice, { services: invoiceServices(1, 0, slow(6000)).services }),
          "image_enhancement: it took longer than 5s"
        )
      }))

    it.effect("outlives two failures of its extraction, under one key, and not three", () =>
      Effect.gen(function*() {
        const twice = invoiceServices(2000, 2)
        assert.deepStrictEqual(yield* output(invoice, { services: twice.services }), { checked: { amount: 2000 } })
        assert.deepStrictEqual(
          twice.extraction.calls.map(({ attempt, idempotencyKey }) => [attempt, idempotencyKey]),
          [1, 2, 3].map((attempt) => [attempt, "run-1/ocr_extraction"])
        )
        const thrice = invoiceServices(2000, 3)
        assert.strictEqual(yield* reason(invoice, { services: thrice.services }), "ocr_extraction: busy")
        assert.lengthOf(thrice.extraction.calls, 3)
      }))
  })

  describe("order", () => {
    const node = Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 6 }))).check(
      Schema.isMaxLength(3)
    )
    const graph = Schema.Array(node).check(Schema.isMinLength(1), Schema.isMaxLength(7))

    it.effect.prop("respects needs, whatever the graph", { graph }, ({ graph }) =>
      Effect.gen(function*() {
        const needs = graph.map((of, index) => [...new Set(of.filter((other) => other < index))])
        const text = steps(
          needs.map((of, index) =>
            `- { id: s${index}, service: slow, needs: [ ${of.map((n) => `s${n}`).join(", ")} ] }`
          )
            .join("\n")
        )
        const { events, result } = yield* finish(text, { services: { slow: slow(1) } })
        assert.isTrue(Result.isSuccess(result))
        const at = (tag: string, index: number) =>
          events.findIndex(({ _tag, step }) => _tag === tag && step === `s${index}`)
        needs.forEach((of, index) => {
          for (const other of of) assert.isBelow(at("Succeeded", other), at("Started", index))
        })
        assert.lengthOf(events, 2 * graph.length)
      }))

    it.effect("runs what does not need each other at the same time", () =>
      Effect.gen(function*() {
        const parallel = "- { id: c, parallel: [ { id: d, service: slow }, { id: e, service: echo, input: 1 } ] }"
        const text = steps(`- { id: a, service: slow, needs: [] }\n- { id: b, service: slow, needs: [] }\n${parallel}`)
        const { result, told } = yield* finish(text, { services: { slow: slow(1000), echo } })
        assert.deepStrictEqual(result, Result.succeed({ d: "slow", e: 1 }))
        assert.deepStrictEqual(told.slice(0, 2), ["Started a", "Started b"])
      }))
  })

  describe("values", () => {
    it.effect("go from step to step, and into the result", () =>
      Effect.gen(function*() {
        const text = steps(
          "- { id: a, service: echo }\n- { id: b, service: echo, input: { n: \"${output.n + 1}\", of: \"${run.workflow}\" } }",
          "output: { first: \"${steps.a.output.n}\", second: \"${output}\", region: \"${env.REGION}\" }"
        )
        assert.deepStrictEqual(yield* output(text, { input: { n: 1 }, env: { REGION: "eu" } }), {
          first: 1,
          second: { n: 2, of: "w" },
          region: "eu"
        })
      }))

    it.effect("of a step that was skipped are null for those that need it", () =>
      Effect.gen(function*() {
        const text = steps(
          "- { id: a, service: echo, condition: \"${false}\" }\n- { service: echo, input: \"${output == null}\" }"
        )
        assert.strictEqual(yield* output(text), true)
      }))

    it.effect("that are missing fail the step", () =>
      Effect.gen(function*() {
        assert.match(
          String(yield* reason(steps("- { id: a, service: echo, condition: \"${output.x > 1}\" }"))),
          /^a: .*No such key: x/
        )
        assert.strictEqual(
          yield* reason(steps("- { id: a, service: echo, condition: \"${output}\" }"), { input: "no" }),
          "a: its condition gave no, expected true or false"
        )
      }))
  })

  describe("forEach", () => {
    it.effect("calls for each element, in its bound, each under its own key", () =>
      Effect.gen(function*() {
        let running = 0
        let most = 0
        const { calls, service } = recorder((input) =>
          Effect.sync(() => most = Math.max(most, ++running)).pipe(
            Effect.andThen(Effect.sleep("1 second")),
            Effect.andThen(Effect.sync(() => {
              running--
              return input
            }))
          )
        )
        const text = steps(
          "- { id: each, service: one, forEach: { in: \"${input}\", concurrency: 2 }, input: \"${item * 2.0 + index}\" }"
        )
        assert.deepStrictEqual(yield* output(text, { input: [1, 2, 3, 4, 5], services: { one: service } }), [
          2,
          5,
          8,
          11,
          14
        ])
        assert.deepStrictEqual([most, calls[3]?.idempotencyKey], [2, "run-1/each[3]"])
      }))

    it.effect("begins no element after a failure, and says which failed", () =>
      Effect.gen(function*() {
        const { calls, service } = recorder((input) => input === 2 ? Effect.fail(busy) : Effect.succeed(input))
        const text = steps("- { id: each, service: one, forEach: { in: \"${input}\", concurrency: 1 } }")
        assert.strictEqual(yield* reason(text, { input: [1, 2, 3], services: { one: service } }), "each[1]: busy")
        assert.lengthOf(calls, 2)
        assert.strictEqual(
          yield* reason(text, { input: 1, services: { one: service } }),
          "each: forEach.in gave 1, expected a list"
        )
      }))
  })

  describe("failures", () => {
    const services = { broken: broken(), echo, slow: slow(1000) }

    it.effect("are tried again only where they may pass", () =>
      Effect.gen(function*() {
        const lasting = recorder(() => broken().call(null, undefined as never))
        yield* output(steps("- { service: one, retry: 5 }"), { services: { one: lasting.service } })
        assert.lengthOf(lasting.calls, 1)
      }))

    it.effect("are handled as the step says", () =>
      Effect.gen(function*() {
        const after = (handling: string) =>
          output(steps(`- { id: a, service: broken, ${handling} }\n- { service: echo, input: [ "\${output}" ] }`), {
            services
          })
        assert.deepStrictEqual(yield* after("onError: continue"), [null])
        assert.deepStrictEqual(yield* after("onError: { default: { n: 1 } }"), [{ n: 1 }])
        assert.deepStrictEqual(
          yield* after(
            "onError: { steps: [ { service: echo, input: 1 }, { service: echo, input: \"${output + 1}\" } ] }"
          ),
          [2]
        )
        assert.deepStrictEqual(yield* after("fallback: echo, input: 7"), [7])
        assert.strictEqual(yield* after("onError: fail"), "RunFailed: Run run-1 failed in step a: broken")
      }))

    it.effect("let steps in flight end, and begin no further one", () =>
      Effect.gen(function*() {
        const text = steps(
          "- { id: a, service: slow, needs: [] }\n- { id: b, service: broken, needs: [] }\n- { id: c, service: echo, needs: [ a ] }",
          "finally: [ { id: d, service: echo } ]"
        )
        const { result, told } = yield* finish(text, { services })
        assert.isTrue(Result.isFailure(result))
        assert.deepStrictEqual(told.slice(2), ["Failed b", "Succeeded a", "Started d", "Succeeded d"])
      }))

    it.effect("of code and of values that are no JSON are the step's", () =>
      Effect.gen(function*() {
        const given = (call: () => Effect.Effect<unknown>) => ({ services: { one: { call } } })
        assert.strictEqual(
          yield* reason(steps("- service: one"), given(() => Effect.succeed(new Map()))),
          "one: what it gave is no JSON"
        )
        assert.strictEqual(
          yield* reason(steps("- service: one"), given(() => Effect.die("secret"))),
          "one: the service broke; the log says how"
        )
      }))
  })

  describe("deadline", () => {
    it.effect("interrupts the step in flight and ends everything but finally", () =>
      Effect.gen(function*() {
        const text = steps(
          "- { id: a, service: slow, retry: 3, fallback: echo, onError: continue }\n- service: echo",
          "deadline: 3s\nfinally: [ { id: last, service: echo } ]"
        )
        const { result, told } = yield* finish(text, { services: { echo, slow: slow(10_000) } })
        assert.deepStrictEqual(Result.isFailure(result) && [result.failure.step, result.failure.reason], [
          "a",
          "the deadline of the run has passed"
        ])
        assert.deepStrictEqual(told, ["Started a", "Failed a", "Started last", "Succeeded last"])
      }))
  })

  const withRunner = (text: string, options: Runner.Options) =>
    Effect.gen(function*() {
      const definition = yield* Definition.read({ name: "w", text, services: options.services ?? {} })
      const runner = yield* Runner.Runner
      return { runner, fiber: yield* Effect.forkChild(runner.run(definition, {}, { id: "r" })) }
    })

  const provided = (options: Runner.Options) =>
    Effect.provide(Runner.layer(options).pipe(Layer.provide(Engine.layerMemory)))

  it.effect("cancels: the call is interrupted, and finally runs", () => {
    let began = 0
    let interrupted = 0
    const last = recorder(() => Effect.succeed(1))
    const waits = {
      call: () =>
        Effect.andThen(
          Effect.sync(() => began++),
          Effect.onInterrupt(Effect.never, () => Effect.sync(() => interrupted++))
        )
    }
    const options = { services: { waits, last: last.service } }
    return Effect.gen(function*() {
      const { fiber, runner } = yield* withRunner(steps("- service: waits", "finally: [ { service: last } ]"), options)
      yield* until(() => began > 0)
      yield* runner.cancel("r")
      assert.isTrue((yield* Fiber.await(fiber))._tag === "Failure")
      assert.deepStrictEqual([interrupted, last.calls.length], [1, 1])
    }).pipe(provided(options))
  })

  describe("approval", () => {
    const text = `${
      steps("- { id: ask, service: boss, input: 7 }\n- { service: echo, input: \"${output.approved}\" }")
    }services:
  boss: { type: approval, deadline: 2d, question: "Pay \${input}?" }
`
    const asked: Array<string> = []
    const options: Runner.Options = {
      services: { echo },
      onEvent: (event) => Effect.sync(() => void (event._tag === "Waiting" && asked.push(event.question)))
    }

    it.effect("waits for days, until a person decides", () =>
      Effect.gen(function*() {
        const { fiber, runner } = yield* withRunner(text, options)
        yield* until(() => asked.length === 1)
        yield* TestClock.adjust("47 hours")
        assert.deepStrictEqual([asked, fiber.pollUnsafe()], [["Pay 7?"], undefined])
        yield* runner.approve("r", "ask", { approved: true, by: "Ada" })
        assert.isTrue(yield* Fiber.join(fiber))
      }).pipe(provided(options)))

    it.effect("fails at its deadline", () =>
      Effect.gen(function*() {
        const { fiber } = yield* withRunner(text, options)
        yield* until(() => asked.length === 2)
        yield* TestClock.adjust("49 hours")
        assert.strictEqual(
          (yield* Effect.flip(Fiber.join(fiber))).message,
          "Run r failed in step ask: nobody decided in time"
        )
      }).pipe(provided(options)))
  })

  it.effect("gives the same result to the same id, without running again", () => {
    const one = recorder(() => Effect.succeed(1))
    const options = { services: { one: one.service } }
    return Effect.gen(function*() {
      const { fiber, runner } = yield* withRunner(steps("- service: one"), options)
      yield* Fiber.join(fiber)
      const definition = yield* Definition.read({
        name: "w",
        text: steps("- service: one"),
        services: options.services
      })
      assert.strictEqual(yield* runner.run(definition, {}, { id: "r" }), 1)
      assert.lengthOf(one.calls, 1)
    }).pipe(provided(options))
  })
})
