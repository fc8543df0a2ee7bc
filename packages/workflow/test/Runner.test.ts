import { Registry } from "@ballast/resilience"
import { Definition, Engine, OutputCache, Runner, Service } from "@ballast/workflow"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect, Exit, Fiber, Layer, Result, Schema } from "effect"
import { HttpClient, HttpClientResponse } from "effect/http"
import { PersistenceError } from "effect/persistence/Persistence"
import { TestClock } from "effect/testing"
import { broken, busy, echo, finish, type Given, invoice, recorder, slow, steps, until } from "./fixtures.ts"

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
  it.effect("tells that a run which breaks has failed", () =>
    Effect.gen(function*() {
      const told: Array<unknown> = []
      const definition = yield* Definition.read({
        name: "w",
        text: steps("- service: echo"),
        services: { echo }
      })
      const layer = Runner.layer({
        services: { echo },
        onEvent: ({ _tag }) => _tag === "Succeeded" ? Effect.die("no database") : Effect.void,
        onEnd: (run, end) => Effect.sync(() => told.push({ run, ...end }))
      }).pipe(Layer.provide(Engine.layerMemory))
      const exit = yield* Effect.exit(
        Effect.flatMap(Runner.Runner, (runner) => runner.run(definition, 1, { id: "r" })).pipe(Effect.provide(layer))
      )
      assert.isTrue(Exit.hasDies(exit))
      assert.deepStrictEqual(told, [{ run: "r", status: "failed", reason: "the run broke; the log says how" }])
    }))

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
    it.effect("of env are not shown where they are wrong", () =>
      Effect.gen(function*() {
        const failing = (step: string) =>
          reason(steps(`- { id: a, service: echo, ${step} }`), { env: { KEY: "hidden-key", FLAG: "true" } })
        assert.strictEqual(
          yield* failing("input: \"${duration(env.KEY)}\""),
          "a: The expression duration(env.KEY) can not be evaluated: Invalid duration string: ****"
        )
        assert.strictEqual(
          yield* failing("forEach: { in: \"${dyn(env.KEY)}\" }"),
          "a: forEach.in gave ****, expected a list"
        )
        assert.strictEqual(
          yield* failing("condition: \"${dyn(env.KEY)}\""),
          "a: its condition gave ****, expected true or false"
        )
      }))

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

  describe("usage", () => {
    it.effect("is told of each attempt, of one that failed or was interrupted too", () =>
      Effect.gen(function*() {
        const { service } = recorder((_, { attempt, report }) =>
          report({ promptTokens: 10, cost: { CNY: "0.1" } }).pipe(
            Effect.andThen(report({ completionTokens: attempt, cost: { CNY: "0.2", USD: "1" } })),
            Effect.andThen(attempt === 1 ? Effect.fail(busy) : attempt === 2 ? Effect.never : Effect.succeed(1))
          )
        )
        const text = steps("- { service: one, retry: 2, timeout: 1s }\n- service: echo")
        const { events } = yield* finish(text, { services: { one: service, echo } })
        const ended = events.flatMap((event) => "millis" in event ? [[event._tag, event.usage]] : [])
        const used = (attempt: number) => ({
          promptTokens: 10,
          completionTokens: attempt,
          cost: { CNY: "0.3", USD: "1" },
          unpriced: 0
        })
        assert.deepStrictEqual(ended, [
          ["Failed", used(1)],
          ["Failed", used(2)],
          ["Succeeded", used(3)],
          ["Succeeded", undefined]
        ])
      }))

    it.effect("with money that is no number breaks the service", () =>
      Effect.gen(function*() {
        const one: Service.Service = { call: (_, { report }) => report({ cost: { CNY: "much" } }) }
        assert.strictEqual(
          yield* reason(steps("- service: one"), { services: { one } }),
          "one: the service broke; the log says how"
        )
      }))
  })

  describe("budget", () => {
    /** Uses 60 tokens and 0.6 CNY, and takes a second. */
    const spender = (answer: () => Effect.Effect<unknown, Service.ServiceError> = () => Effect.succeed(1)) =>
      recorder((_, { report }) =>
        report({ promptTokens: 50, completionTokens: 10, cost: { CNY: "0.6" } }).pipe(
          Effect.andThen(Effect.sleep("1 second")),
          Effect.andThen(Effect.suspend(answer))
        )
      )

    it.effect("of a run is exceeded by the step in flight at most", () =>
      Effect.gen(function*() {
        const { calls, service } = spender()
        const text = (budget: string) =>
          steps(
            ["a", "b", "c", "d"].map((id) => `- { id: ${id}, service: one, onError: continue }`).join("\n"),
            `budget: { ${budget} }\nfinally: [ { id: z, service: one } ]`
          )
        const spent = (budget: string) => reason(text(budget), { services: { one: service } })
        assert.strictEqual(yield* spent("tokens: 100"), "c: the budget of the run is used up: 120 of 100 tokens")
        assert.deepStrictEqual(calls.map(({ stepId }) => stepId), ["a", "b", "z"])
        assert.strictEqual(yield* spent("cost: 1.7"), "d: the budget of the run is used up: 1.8 of 1.7 CNY")
        assert.strictEqual(yield* spent("cost: 1.8"), 1)
      }))

    it.effect("of a step covers its attempts, its fallback and the steps within, and onError still runs", () =>
      Effect.gen(function*() {
        const { calls, service } = spender(() => Effect.fail(busy))
        const services = { one: service, echo }
        const failed = steps(
          "- { id: a, service: one, retry: 9, fallback: one, budget: { cost: 1 }, onError: { steps: [ { id: b, service: echo, input: \"${error.step + ': ' + error.message}\" } ] } }"
        )
        assert.strictEqual(yield* output(failed, { services }), "a: its budget is used up: 1.2 of 1 CNY")
        assert.lengthOf(calls, 2)
        const each = steps(
          "- { id: a, service: one, forEach: { in: \"${input}\", concurrency: 1 }, budget: { tokens: 70 } }"
        )
        assert.strictEqual(
          yield* reason(each, { services: { one: spender().service }, input: [1, 2, 3] }),
          "a[2]: its budget is used up: 120 of 70 tokens"
        )
        const group = steps(
          "- { id: a, budget: { tokens: 1 }, parallel: [ { id: b, service: one }, { id: c, service: two } ] }\n- service: one"
        )
        assert.strictEqual(
          yield* reason(group, { services: { one: spender().service, two: spender(() => Effect.succeed(2)).service } }),
          1
        )
      }))

    it.effect("of time bounds all attempts of a step, and the whole run", () =>
      Effect.gen(function*() {
        const { calls, service } = recorder(() => Effect.delay(Effect.fail(busy), "4 seconds"))
        const text = steps(
          "- { id: a, service: one, retry: { times: 9, base: 1ms }, budget: { time: 10s }, onError: continue }\n- { id: b, service: echo, input: \"${output}\" }"
        )
        assert.isNull(yield* output(text, { services: { one: service, echo } }))
        assert.lengthOf(calls, 3)
        const whole = steps(
          "- { id: a, service: one, retry: 9, onError: continue }\n- service: echo",
          "budget: { time: 2s }\ndeadline: 3s"
        )
        assert.strictEqual(
          yield* reason(whole, { services: { one: service, echo } }),
          "a: the budget of the run is used up: 2s"
        )
      }))

    it.effect("of money can not be kept when a price is not known", () =>
      Effect.gen(function*() {
        const one: Service.Service = { call: (_, { report }) => report({ promptTokens: 1, unpriced: 1 }) }
        assert.strictEqual(
          yield* reason(steps("- service: one\n- { id: b, service: one }", "budget: { cost: 1 }"), {
            services: { one }
          }),
          "b: the budget of the run can not be kept: what a call costs is not known"
        )
      }))
  })

  describe("cache", () => {
    it.effect("gives what an equal input gave, until its time is over", () =>
      Effect.gen(function*() {
        const { calls, service } = recorder((input) => Effect.succeed({ of: input }))
        const cache = OutputCache.memory()
        const given = (input: Schema.Json, id: string) => ({ services: { one: service }, input, id, cache })
        const text = steps("- { id: a, service: one, cache: { ttl: 1m } }")
        assert.deepStrictEqual(yield* output(text, given({ a: 1, b: 2 }, "r1")), { of: { a: 1, b: 2 } })
        const { events, result } = yield* finish(text, given({ b: 2, a: 1 }, "r2"))
        assert.deepStrictEqual(result, Result.succeed({ of: { a: 1, b: 2 } }))
        assert.deepStrictEqual(events.map((event) => "cached" in event && event.cached), [false, true])
        yield* output(text, given({ a: 2 }, "r3"))
        assert.lengthOf(calls, 2)
        yield* TestClock.adjust("61 seconds")
        yield* output(text, given({ a: 1, b: 2 }, "r4"))
        assert.lengthOf(calls, 3)
      }))

    it.effect("is told apart by its key and its service, and keeps no failure", () =>
      Effect.gen(function*() {
        const cache = OutputCache.memory()
        let failures = 1
        const one = recorder((input) => failures-- > 0 ? Effect.fail(busy) : Effect.succeed(input))
        const two = recorder(() => Effect.succeed("two"))
        const services = { one: one.service, two: two.service }
        const text = steps(
          "- { service: one, retry: 1, cache: { key: \"${input.id}\" } }\n- { service: two, input: \"${input}\", cache: { key: \"${input.id}\" } }",
          "output: [ \"${steps.one.output}\", \"${steps.two.output}\" ]"
        )
        assert.deepStrictEqual(yield* output(text, { services, cache, input: { id: 1, at: 1 }, id: "r1" }), [
          { id: 1, at: 1 },
          "two"
        ])
        assert.deepStrictEqual(yield* output(text, { services, cache, input: { id: 1, at: 2 }, id: "r2" }), [
          { id: 1, at: 1 },
          "two"
        ])
        assert.deepStrictEqual([one.calls.length, two.calls.length], [2, 1])
      }))

    it.effect("is told apart by the template that a report names", () =>
      Effect.gen(function*() {
        const cache = OutputCache.memory()
        const page = (template: string) =>
          `${
            steps("- { service: page, cache: true }", "output: \"${output.html.contains('old')}\"")
          }services: { page: { type: report, file: a.html } }\nfiles: { a.html: ${template} }\n`
        assert.strictEqual(yield* output(page("old"), { cache, id: "r1" }), true)
        assert.strictEqual(yield* output(page("new"), { cache, id: "r2" }), false)
      }))

    it.effect("is no failure of the step when its store fails", () =>
      Effect.gen(function*() {
        const broken = Effect.fail(new PersistenceError({ message: "down", cause: null }))
        const cache = { get: () => broken, set: () => broken }
        assert.strictEqual(yield* output(steps("- { service: echo, cache: true }"), { cache, input: 7 }), 7)
      }))
  })

  it.effect("waits as long as a service asks for", () =>
    Effect.gen(function*() {
      const at: Array<number> = []
      const one = recorder(() =>
        Effect.flatMap(Clock.currentTimeMillis, (now) => {
          at.push(now)
          return Effect.fail(
            new Service.ServiceError({
              detail: "busy",
              retryable: true,
              retryAfter: Duration.seconds(at.length === 1 ? 30 : 36_000)
            })
          )
        })
      )
      yield* output(steps("- { service: one, retry: { times: 2, base: 1ms } }"), { services: { one: one.service } })
      const waits = at.slice(1).map((time, index) => Math.round((time - (at[index] ?? 0)) / 1000))
      assert.deepStrictEqual(waits, [30, 3600])
    }))

  it.effect("tells finally how the run ended", () =>
    Effect.gen(function*() {
      const last = recorder(() => Effect.succeed(1))
      const services = { broken: broken(), echo, last: last.service }
      const more =
        "finally: [ { service: last, input: \"${error == null ? 'well' : error.step + ': ' + error.message}\" } ]"
      yield* output(steps("- { id: a, service: broken }", more), { services })
      yield* output(steps("- { id: a, service: echo }", more), { services })
      assert.deepStrictEqual(last.calls.map(({ input }) => input), ["a: broken", "well"])
    }))

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

    it.effect("does not make a run forget what its steps used", () => {
      const one = recorder((_, { report }) => report({ promptTokens: 60 }))
      const asked: Array<string> = []
      const options: Runner.Options = {
        services: { one: one.service },
        onEvent: (event) => Effect.sync(() => void (event._tag === "Waiting" && asked.push(event.step)))
      }
      const text = `${
        steps(
          "- { service: one }\n- { id: ask, service: boss }\n- { id: b, service: one }\n- { id: c, service: one }",
          "budget: { tokens: 60 }"
        )
      }services: { boss: { type: approval } }`
      return Effect.gen(function*() {
        const { fiber, runner } = yield* withRunner(text, options)
        yield* until(() => asked.length === 1)
        yield* runner.approve("r", "ask", { approved: true })
        assert.strictEqual(
          (yield* Effect.flip(Fiber.join(fiber))).message,
          "Run r failed in step c: the budget of the run is used up: 120 of 60 tokens"
        )
      }).pipe(provided(options))
    })

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

  describe("policies of a service", () => {
    const text = (policies: string, more = "") =>
      `${
        steps(`- { id: each, service: web, forEach: { in: "\${[1, 2, 3, 4]}", concurrency: 4 }, ${more} }`)
      }services: { web: { type: http, url: "http://x", ${policies} } }`

    /** Answers after a second; keeps when calls began and how many ran at once. */
    const web = (status = 200) => {
      const seen = { began: [] as Array<number>, running: 0, most: 0 }
      const http = HttpClient.make((request) =>
        Effect.gen(function*() {
          seen.began.push(yield* Clock.currentTimeMillis)
          seen.most = Math.max(seen.most, ++seen.running)
          yield* Effect.sleep("1 second")
          seen.running--
          return HttpClientResponse.fromWeb(request, new Response("1", { status }))
        })
      )
      return { seen, http }
    }

    it.effect("bound its calls of all runs", () =>
      Effect.gen(function*() {
        const { http, seen } = web()
        const definition = yield* Definition.read({ name: "w", text: text("concurrency: 3"), services: {} })
        const other = yield* Definition.read({
          name: "w",
          text: text("concurrency: 3", "timeout: 1m"),
          services: {}
        })
        const runs = Effect.flatMap(
          Runner.Runner,
          (runner) =>
            Effect.all([runner.run(definition, {}, { id: "a" }), runner.run(other, {}, { id: "b" })], {
              concurrency: 2
            })
        )
        const fiber = yield* Effect.forkChild(runs.pipe(provided({ http })))
        yield* until(() => seen.running === 3)
        while (fiber.pollUnsafe() === undefined) {
          yield* TestClock.adjust("1 second")
          let turns = 0
          yield* until(() => fiber.pollUnsafe() !== undefined || turns++ > 2)
        }
        assert.deepStrictEqual(yield* Fiber.join(fiber), [[1, 1, 1, 1], [1, 1, 1, 1]])
        assert.strictEqual(seen.most, 3)
      }))

    it.effect("space its calls out", () =>
      Effect.gen(function*() {
        const { http, seen } = web()
        assert.deepStrictEqual(yield* output(text("rate: { limit: 1, window: 10s }"), { http }), [1, 1, 1, 1])
        const gaps = seen.began.slice(1).map((at, index) => at - (seen.began[index] ?? 0))
        assert.isTrue(gaps.every((gap) => gap >= 9_000), String(gaps))
      }))

    it.effect("leave it alone when it keeps failing", () =>
      Effect.gen(function*() {
        const { http, seen } = web(503)
        const failed = yield* finish(
          text(
            "circuitBreaker: { minimumCalls: 4, openDuration: 1h }",
            "retry: { times: 1, base: 1ms }, onError: continue"
          ),
          { http }
        )
        assert.lengthOf(seen.began, 4)
        const reasons = failed.events.flatMap((event) => event._tag === "Failed" ? [event.reason] : [])
        assert.isTrue(reasons.some((reason) => /circuit/i.test(reason)), reasons.join())
      }))

    it.effect("are in the registry by workflow and service as long as the runner; those of a changed file take their place", () =>
      Effect.gen(function*() {
        const registry = Registry.make()
        const http = HttpClient.make((request) =>
          Effect.succeed(HttpClientResponse.fromWeb(request, new Response("1")))
        )
        const limits = Effect.flatMap(
          registry.list({ owner: "workflow/w", kind: "concurrencyLimit" }),
          Effect.forEach(({ handle, name }) => Effect.map(handle.inspect, ({ limit }) => ({ name, limit })))
        )
        yield* Effect.gen(function*() {
          const { run } = yield* Runner.Runner
          const start = Effect.fnUntraced(function*(id: string, policies: string) {
            const definition = yield* Definition.read({ name: "w", text: text(policies), services: {} })
            yield* run(definition, {}, { id })
          })
          yield* start("a", "concurrency: 3, circuitBreaker: true")
          assert.deepStrictEqual(yield* limits, [{ name: "workflow/w/web", limit: 3 }])
          assert.isDefined(yield* registry.find("circuitBreaker", "workflow/w/web"))
          yield* start("b", "concurrency: 5")
          assert.deepStrictEqual(yield* limits, [{ name: "workflow/w/web", limit: 5 }])
          assert.isUndefined(yield* registry.find("circuitBreaker", "workflow/w/web"))
        }).pipe(provided({ http }), Effect.provideService(Registry.Current, registry))
        assert.deepStrictEqual(yield* registry.list(), [])
      }))
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
