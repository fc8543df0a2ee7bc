import * as ballast from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Option, Stream } from "effect"
import { TestClock } from "effect/testing"
import { chance, Fault } from "../support.ts"
import { type Call, type End, fault, hung, ok, pairs, type Part, parts, type Tagged } from "./parts.ts"

/** What the dependency answers to each execution; past the end it repeats the last. */
interface Script {
  readonly says: string
  readonly answers: readonly [End, ...Array<End>]
  /** Callers of each round; one round begins when the one before is over. */
  readonly rounds: ReadonlyArray<number>
  /** Milliseconds that an execution takes, and an attempt before it; zero when nothing runs beside it. */
  readonly millis: number
  /** Pairs whose end depends on times, of which the models know nothing. */
  readonly except?: Readonly<Record<string, Seen | "untold">>
}

/** How the calls ended, how often the outer policy called the inner one, and how often that called the dependency. */
interface Seen {
  readonly ends: ReadonlyArray<string>
  readonly attempts: number
  readonly executions: number
}

const scripts: ReadonlyArray<Script> = [
  {
    says: "a fault and then answers, one call after the other",
    answers: [fault, ok],
    rounds: [1, 1, 1],
    millis: 0
  },
  { says: "an answer and then faults", answers: [ok, fault], rounds: [1, 1, 1], millis: 0 },
  { says: "answers, for two callers at a time", answers: [ok], rounds: [2, 2], millis: 500 },
  {
    says: "two faults and then answers, for two callers at a time",
    answers: [fault, fault, ok],
    rounds: [2, 1],
    millis: 500
  },
  {
    says: "an execution that hangs, and then answers",
    answers: [hung, ok],
    rounds: [1, 1],
    millis: 0,
    except: {
      // The second attempt comes after two seconds, when the first still holds the slot. The first goes on until its deadline opens the circuit.
      "hedge, common stack": { ends: ["CircuitOpen", "CircuitOpen"], attempts: 3, executions: 1 },
      // Both do the same at the same moment.
      "hedge, hedge": "untold",
      "common stack, common stack": "untold",
      // Of two deadlines the shorter one ends it, though it is the outer one, and another try may mend that.
      "common stack, total deadline": { ends: ["CircuitOpen", "CircuitOpen"], attempts: 1, executions: 1 }
    }
  }
]

/** Long enough for whatever ends. */
const patience = "20 seconds"

const answersOf = (script: Script) => {
  let executions = 0
  return {
    next: () => script.answers[Math.min(executions++, script.answers.length - 1)] ?? ok,
    executions: () => executions
  }
}

const expected = (script: Script, outer: Part, inner: Part): Seen => {
  const releases: Array<() => void> = []
  const run = {
    onCut: (release: () => void) => {
      releases.push(release)
    },
    cut: () => {
      for (const release of releases.splice(0)) release()
    }
  }
  const answers = answersOf(script)
  let attempts = 0
  const dependency: Call = (callers) => Array.from({ length: callers }, answers.next)
  const guarded = inner.model(run)(dependency)
  const call = outer.model(run)((callers) => {
    attempts += callers
    return guarded(callers)
  })
  const ends = script.rounds.flatMap((callers) => {
    const ends = call(callers)
    run.cut()
    return ends.map(({ tag }) => tag)
  })
  return { ends, attempts, executions: answers.executions() }
}

const endOf = (exit: Exit.Exit<string, Tagged>): string =>
  Exit.isSuccess(exit)
    ? exit.value
    : exit.cause.reasons.map((reason) => reason._tag === "Fail" ? reason.error._tag : reason._tag).join(" and ")

const answer = ({ tag }: End, millis: number): Effect.Effect<string, Tagged> => {
  if (tag === "hung") return Effect.never
  const end = tag === "ok" ? Effect.succeed(tag) : Effect.fail(new Fault({}))
  return millis === 0 ? end : Effect.andThen(Effect.sleep(millis), end)
}

/** The two policies around the dependency, as the effect or as the stream that a caller runs. */
const apply = Effect.fnUntraced(function*(
  outer: Part,
  inner: Part,
  dependency: Effect.Effect<string, Tagged>,
  kind: "effect" | "stream",
  millis: number
) {
  const [around, within] = [yield* outer.make, yield* inner.make]
  let attempts = 0
  // What ends at once would come one after the other, also for callers that begin at the same time.
  const attempt = Effect.suspend(() => {
    attempts++
    return millis === 0 ? Effect.void : Effect.sleep(millis)
  })
  const call = kind === "effect"
    ? around.effect(Effect.andThen(attempt, within.effect(dependency)))
    : Effect.map(
      Stream.runCollect(
        around.stream(Stream.unwrap(Effect.as(attempt, within.stream(Stream.fromEffect(dependency)))))
      ),
      (items) => items.join()
    )
  return { call, attempts: () => attempts, held: Effect.zipWith(around.held, within.held, (a, b) => a + b) }
})

const seen = Effect.fnUntraced(function*(script: Script, outer: Part, inner: Part, kind: "effect" | "stream") {
  const answers = answersOf(script)
  const dependency = Effect.suspend(() => answer(answers.next(), script.millis))
  const { attempts, call, held } = yield* apply(outer, inner, dependency, kind, script.millis)
  const ends: Array<string> = []
  for (const callers of script.rounds) {
    const fibers = yield* Effect.replicateEffect(Effect.forkChild(call, { startImmediately: true }), callers)
    yield* TestClock.adjust(patience)
    for (const fiber of fibers) {
      const exit = Option.fromUndefinedOr(fiber.pollUnsafe())
      ends.push(Option.match(exit, { onNone: () => "hung", onSome: endOf }))
      yield* Fiber.interrupt(fiber)
    }
    assert.strictEqual(yield* held, 0)
  }
  return { ends, attempts: attempts(), executions: answers.executions() } satisfies Seen
}, Effect.scoped)

/** The same in plain words for pairs whose order matters most, so that the models themselves are held to something. */
const told: ReadonlyArray<readonly [script: number, pair: string, ends: string, attempts: number, executions: number]> =
  [
    [0, "retry, breaker", "CircuitOpen CircuitOpen CircuitOpen", 4, 1],
    [0, "breaker, retry", "ok ok ok", 3, 4],
    [0, "retry, rate limiter", "ok RateLimitExceeded RateLimitExceeded", 4, 2],
    [0, "rate limiter, retry", "ok ok RateLimitExceeded", 2, 3],
    [0, "fallback, breaker", "fallback fallback fallback", 3, 1],
    [0, "breaker, fallback", "fallback ok ok", 3, 3],
    [0, "cache, fallback", "fallback fallback fallback", 1, 1],
    [0, "fallback, cache", "fallback ok ok", 3, 2],
    [0, "throttle, retry", "ok ok ok", 3, 4],
    [0, "retry, throttle", "Throttled Throttled Throttled", 4, 1],
    [0, "retry, retry", "ok ok ok", 3, 4],
    [0, "retry, degrade", "ok Degraded Degraded", 4, 2],
    [0, "degrade, retry", "ok ok Degraded", 2, 3],
    [0, "retry budget, retry", "ok ok ok", 3, 4],
    [0, "retry, chaos", "Injected Injected Injected", 6, 0],
    [0, "chaos, retry", "Injected Injected Injected", 0, 0],
    [1, "cache, breaker", "ok ok ok", 1, 1],
    [1, "breaker, retry", "ok Fault CircuitOpen", 2, 3],
    [2, "single flight, concurrency limit", "ok ok ok ok", 2, 2],
    [2, "concurrency limit, single flight", "ok QueueFull ok QueueFull", 2, 2],
    [2, "load shedding, cache", "ok Shed ok Shed", 2, 1],
    [2, "common stack, cache", "ok QueueFull RateLimitExceeded RateLimitExceeded", 1, 1],
    [2, "degrade, adaptive limit", "ok QueueFull Degraded Degraded", 2, 1],
    [2, "adaptive limit, degrade", "ok QueueFull ok QueueFull", 2, 2],
    [3, "retry, single flight", "Fault Fault ok", 5, 3],
    [3, "single flight, retry", "Fault Fault ok", 2, 3],
    [4, "retry, attempt deadline", "ok ok", 3, 3],
    [4, "attempt deadline, retry", "DeadlineExceeded ok", 2, 2],
    [4, "retry, total deadline", "DeadlineExceeded ok", 2, 2],
    [4, "concurrency limit, attempt deadline", "DeadlineExceeded ok", 2, 2],
    [0, "hedge, breaker", "Fault CircuitOpen CircuitOpen", 4, 1],
    [4, "hedge, concurrency limit", "hung ok", 3, 2],
    [4, "hedge, rate limiter", "ok RateLimitExceeded", 3, 2],
    [4, "concurrency limit, hedge", "ok ok", 2, 3],
    [4, "fallback, attempt deadline", "fallback ok", 2, 2],
    [4, "attempt deadline, breaker", "DeadlineExceeded ok", 2, 2],
    [4, "breaker, attempt deadline", "DeadlineExceeded CircuitOpen", 1, 1]
  ]

const partOf = (name: string): Part => {
  const found = parts.find((part) => part.name === name)
  return found ?? assert.fail(`there is no ${name}`)
}

describe("every pair of policies", () => {
  for (const script of scripts) {
    describe(script.says, () => {
      for (const kind of ["effect", "stream"] as const) {
        for (const outer of parts) {
          it.effect(`${outer.name} around each other policy, ${kind}`, () =>
            Effect.forEach(parts, (inner) =>
              Effect.gen(function*() {
                const names = `${outer.name}, ${inner.name}`
                const told = script.except?.[names] ?? expected(script, outer, inner)
                if (told === "untold") return
                assert.deepStrictEqual(
                  { names, ...(yield* seen(script, outer, inner, kind)) },
                  { names, ...told }
                )
              }), { discard: true }).pipe(chance(0)))
        }
      }
    })
  }

  for (const [index, pair, ends, attempts, executions] of told) {
    it.effect(`${pair}, ${scripts[index]?.says}: ${ends}`, () =>
      Effect.gen(function*() {
        const [outer = "", inner = ""] = pair.split(", ")
        const script = scripts[index] ?? assert.fail(`there is no script ${index}`)
        for (const kind of ["effect", "stream"] as const) {
          assert.deepStrictEqual(
            yield* seen(script, partOf(outer), partOf(inner), kind),
            { ends: ends.split(" "), attempts, executions }
          )
        }
      }).pipe(chance(0)))
  }

  it("is all of them, both ways round and each with itself", () => {
    assert.strictEqual(pairs.length, parts.length ** 2)
    // What is keyed is one of these.
    const policies = Object.entries(ballast).filter(([name, module]) => "noop" in module && name !== "Keyed")
    // Deadlines are two of them, and the common stack is one more.
    assert.strictEqual(parts.length, policies.length + 2)
  })
})
