import * as Testing from "@ballast/resilience/testing"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Scope, Stream } from "effect"
import { chance } from "../support.ts"
import { type Part, parts, type Tagged } from "./parts.ts"

/** A dependency that takes a second, until it is told to answer at once, and knows what runs in it. */
const makeDependency = () => {
  let running = 0
  let millis = 1_000
  const call: Effect.Effect<string, Tagged> = Effect.acquireUseRelease(
    Effect.sync(() => {
      running++
    }),
    () => Effect.as(Effect.sleep(millis), "ok"),
    () =>
      Effect.sync(() => {
        running--
      })
  )
  const hurry = () => {
    millis = 0
  }
  return { call, hurry, running: () => running }
}

const setup = Effect.fnUntraced(function*(outer: Part, inner: Part, kind: "effect" | "stream") {
  const [around, within] = [yield* outer.make, yield* inner.make]
  const dependency = makeDependency()
  const call = kind === "effect"
    ? Effect.asVoid(around.effect(within.effect(dependency.call)))
    : Stream.runDrain(around.stream(within.stream(Stream.fromEffect(dependency.call))))
  return { call, dependency, held: Effect.zipWith(around.held, within.held, (a, b) => a + b) }
}, Effect.provideServiceEffect(Scope.Scope, Scope.make()))

describe("every pair of policies, interrupted at every step", () => {
  for (const outer of parts) {
    for (const kind of ["effect", "stream"] as const) {
      it.live(
        `${outer.name} around each other policy leaves nothing behind and serves the next call, ${kind}`,
        () =>
          Effect.forEach(parts, (inner, index) => {
            const names = `${outer.name}, ${inner.name}`
            // What chaos fails may well be remembered.
            const forgets = !names.includes("chaos")
            return Testing.interruptEverywhere({
              setup: setup(outer, inner, kind),
              run: ({ call }) => chance(0)(call),
              check: ({ call, dependency, held }, exit) =>
                Effect.gen(function*() {
                  assert.strictEqual(dependency.running(), 0, `${names}: runs on`)
                  assert.strictEqual(yield* held, 0, `${names}: holds on`)
                  if (!Exit.hasInterrupts(exit) || !forgets) return
                  dependency.hurry()
                  const next = yield* Effect.exit(Testing.passTime(chance(0)(call)))
                  assert.isTrue(Exit.isSuccess(next), `${names}: is wedged`)
                }),
              // All of them for all pairs would take minutes, so each pair has one of its own beside the largest.
              budgets: kind === "effect" ? [3 + index % 8, 64] : [3 + index % 8]
            })
          }, { discard: true }),
        60_000
      )
    }
  }
})
