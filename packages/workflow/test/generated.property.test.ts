import { Definition, Engine, type Run, Runner, type Service } from "@ballast/workflow"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Clock, Effect, Exit, Fiber, Layer, Schema } from "effect"
import { TestClock } from "effect/testing"
import { steps, until } from "./fixtures.ts"

const whole = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

/** A step as chance makes it: what it needs of the steps before it, how long its calls take, and what it is. */
const Step = Schema.Struct({
  needs: Schema.Array(whole(0, 7)).check(Schema.isMaxLength(3)),
  seconds: whole(1, 5),
  kind: Schema.Literals(["call", "call", "skipped", "fails", "parallel", "forEach"]),
  size: whole(1, 6),
  concurrency: whole(1, 3)
})
const Steps = Schema.Array(Step).check(Schema.isMinLength(1), Schema.isMaxLength(8))
type Generated = typeof Steps.Type

const needsOf = (generated: Generated) =>
  generated.map(({ needs }, index) => [...new Set(needs.filter((other) => other < index))])

/** Each step gets the outputs of those that it needs. */
const textOf = (generated: Generated, budget: number): string => {
  const needs = needsOf(generated)
  const one = ({ concurrency, kind, size }: Generated[number], index: number) => {
    const needed = (needs[index] ?? []).map((other) => `s${other}`)
    const head = `id: s${index}, needs: [ ${needed.join(", ")} ]`
    const input = `input: { outputs: [ ${needed.map((id) => `"\${steps.${id}.output}"`).join(", ")} ] }`
    switch (kind) {
      case "call":
        return `- { ${head}, service: s${index}, ${input} }`
      case "skipped":
        return `- { ${head}, service: s${index}, ${input}, condition: "\${false}" }`
      case "fails":
        return `- { ${head}, service: fails, ${input}, onError: continue }`
      case "parallel": {
        const parts = Array.from(
          { length: size },
          (_, part) => `{ id: s${index}_${part}, service: s${index}, ${input} }`
        )
        return `- { ${head}, parallel: [ ${parts.join(", ")} ] }`
      }
      case "forEach": {
        const items = Array.from({ length: size }, (_, item) => item).join(", ")
        return `- { ${head}, service: s${index}, ${input}, forEach: { in: "\${[ ${items} ]}", concurrency: ${concurrency} } }`
      }
    }
  }
  const more = `budget: { tokens: ${budget} }\nfinally: [ { id: end, service: end } ]`
  return steps(generated.map(one).join("\n"), more)
}

const outputOf = ({ kind, size }: Generated[number], index: number): unknown => {
  switch (kind) {
    case "call":
      return `of s${index}`
    case "skipped":
    case "fails":
      return null
    case "parallel":
      return Object.fromEntries(Array.from({ length: size }, (_, part) => [`s${index}_${part}`, `of s${index}`]))
    case "forEach":
      return Array.from({ length: size }, () => `of s${index}`)
  }
}

/** A call of a service: in virtual milliseconds, and what it used. */
interface Call {
  readonly step: string
  readonly from: number
  readonly to: number
  readonly tokens: number
}

/** A run of what was generated, with everything that its services saw. A call uses a token for each second. */
const begin = Effect.fnUntraced(function*(generated: Generated, budget = 1_000_000) {
  const inFlight = new Map<string, number>()
  const calls: Array<Call> = []
  const inputs = new Map<string, unknown>()
  const seen = { running: inFlight, most: new Map<string, number>(), inputs, calls, ends: 0 }
  const service = (name: string, seconds: number, output: unknown): Service.Service => ({
    call: (input, { idempotencyKey, report }) =>
      Effect.acquireUseRelease(
        Effect.sync(() => {
          const running = (inFlight.get(name) ?? 0) + 1
          inFlight.set(name, running)
          seen.most.set(name, Math.max(seen.most.get(name) ?? 0, running))
          assert.isFalse(seen.inputs.has(idempotencyKey), `${idempotencyKey} is called once`)
          seen.inputs.set(idempotencyKey, input)
        }),
        () =>
          Effect.gen(function*() {
            const from = yield* Clock.currentTimeMillis
            calls.push({ step: name, from, to: from + seconds * 1000, tokens: seconds })
            yield* Effect.sleep(seconds * 1000)
            yield* report({ completionTokens: seconds })
            return output
          }),
        () => Effect.sync(() => inFlight.set(name, (inFlight.get(name) ?? 0) - 1))
      )
  })
  const services: Record<string, Service.Service> = {
    fails: { call: () => Effect.die("it fails") },
    end: { call: () => Effect.sync(() => seen.ends++) }
  }
  generated.forEach(({ seconds }, index) => services[`s${index}`] = service(`s${index}`, seconds, `of s${index}`))
  const events: Array<Run.Event> = []
  const definition = yield* Definition.read({ name: "w", text: textOf(generated, budget), services })
  const context = yield* Layer.build(
    Runner.layer({ services, onEvent: (event) => Effect.sync(() => void events.push(event)) }).pipe(
      Layer.provide(Layer.fresh(Engine.layerMemory))
    )
  )
  const runner = yield* Effect.provideContext(Runner.Runner, context)
  const fiber = yield* Effect.forkChild(runner.run(definition, {}, { id: "r" }))
  yield* until(() => events.length > 0)
  return { runner, fiber, events, seen }
})

/** Lets seconds pass, and what happens in each of them happen. */
const pass = Effect.fnUntraced(function*(seconds: number, ended: () => boolean) {
  for (let second = 0; second < seconds && !ended(); second++) {
    yield* TestClock.adjust("1 second")
    let turns = 0
    yield* until(() => ended() || turns++ > 2)
  }
})

const options = { arbitrary: { runs: 20 } }

describe("a generated workflow", () => {
  it.effect.prop(
    "begins a step when what it needs has ended, with those outputs, each call once, forEach in its bound",
    { generated: Steps },
    ({ generated }) =>
      Effect.gen(function*() {
        const { events, fiber, seen } = yield* begin(generated)
        yield* pass(1000, () => fiber.pollUnsafe() !== undefined)
        assert.isTrue(Exit.isSuccess(yield* Fiber.await(fiber)))
        const ofStep = (step: string, index: number) => new RegExp(`^s${index}(\\W|_|$)`).test(step)
        needsOf(generated).forEach((needs, index) => {
          const { concurrency, kind, size } = generated[index] ?? assert.fail()
          const begun = events.findIndex(({ step }) => ofStep(step, index))
          for (const needed of needs) {
            assert.isBelow(events.findLastIndex(({ step }) => ofStep(step, needed)), begun)
          }
          const outputs = needs.map((needed) => outputOf(generated[needed] ?? assert.fail(), needed))
          const inputs = [...seen.inputs].filter(([key]) => ofStep(key.slice(2), index)).map(([, input]) => input)
          const calls = kind === "parallel" || kind === "forEach" ? size : kind === "call" ? 1 : 0
          assert.deepStrictEqual(inputs, Array.from({ length: calls }, () => ({ outputs })))
          const bound = kind === "forEach" ? Math.min(size, concurrency) : calls
          assert.strictEqual(seen.most.get(`s${index}`) ?? 0, bound)
        })
        assert.strictEqual(seen.ends, 1)
      }).pipe(Effect.scoped),
    options
  )

  it.effect.prop(
    "that is cancelled leaves no call in flight, begins no further one, and runs finally once",
    { generated: Steps, after: whole(0, 12) },
    ({ after, generated }) =>
      Effect.gen(function*() {
        const { fiber, runner, seen } = yield* begin(generated)
        const ended = () => fiber.pollUnsafe() !== undefined
        yield* pass(after, ended)
        const before = ended()
        const calls = seen.inputs.size
        yield* runner.cancel("r")
        yield* pass(1000, ended)
        assert.strictEqual(Exit.isSuccess(yield* Fiber.await(fiber)), before)
        assert.deepStrictEqual([...seen.running.values()].filter((running) => running !== 0), [])
        assert.strictEqual(seen.inputs.size, calls)
        assert.strictEqual(seen.ends, 1)
      }).pipe(Effect.scoped),
    options
  )

  it.effect.prop(
    "exceeds its budget by the calls in flight at most",
    { generated: Steps, budget: whole(1, 30) },
    ({ budget, generated }) =>
      Effect.gen(function*() {
        const { fiber, seen } = yield* begin(generated, budget)
        yield* pass(1000, () => fiber.pollUnsafe() !== undefined)
        const needs = needsOf(generated).map((needed) => new Set(needed.map((other) => `s${other}`)))
        for (const { from, step } of seen.calls) {
          // What ends in the moment in which a call begins may be in flight for it, unless it waited for that.
          const before = seen.calls.filter((call) => call.to < from || needs[Number(step.slice(1))]?.has(call.step))
          assert.isAtMost(before.reduce((sum, { tokens }) => sum + tokens, 0), budget)
        }
        const exit = yield* Fiber.await(fiber)
        // It fails where a further call would have begun.
        if (Exit.isFailure(exit)) {
          assert.match(
            String(Cause.squash(exit.cause)),
            new RegExp(`budget of the run is used up: .* of ${budget} tokens$`)
          )
        }
        assert.strictEqual(seen.ends, 1)
      }).pipe(Effect.scoped),
    options
  )
})
