/**
 * How full the limits of concurrent calls are: how many calls run and how many wait, as gauges that are set every five seconds. Limits that
 * are gone have none.
 *
 * @since 0.1.0
 */
import * as Registry from "@ballast/resilience/Registry"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"

const running = Metric.gauge("ballast_limit_running", { description: "Calls that run within a limit" })
const queued = Metric.gauge("ballast_limit_queued", { description: "Calls that wait for a place within a limit" })
const places = Metric.gauge("ballast_limit_places", { description: "Calls that a limit lets run at once" })

const gaugesOf = (name: string) => ({
  running: Metric.withAttributes(running, { name }),
  queued: Metric.withAttributes(queued, { name }),
  limit: Metric.withAttributes(places, { name })
})

/**
 * Sets the gauges for the registry at hand, as long as the scope lives.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make: Effect.Effect<void, never, Scope.Scope> = Effect.gen(function*() {
  const registry = yield* Registry.Current
  const context = yield* Effect.context<never>()
  const gauges = new Map<string, ReturnType<typeof gaugesOf>>()

  const sample = Effect.gen(function*() {
    const limits = [
      ...yield* registry.list({ kind: "adaptiveLimit" }),
      ...yield* registry.list({ kind: "concurrencyLimit" })
    ]
    const names = new Set(limits.map(({ name }) => name))
    for (const { handle, name } of limits) {
      let own = gauges.get(name)
      if (own === undefined) gauges.set(name, own = gaugesOf(name))
      const state = yield* handle.inspect
      own.running.updateUnsafe(state.running, context)
      own.queued.updateUnsafe(state.queued, context)
      own.limit.updateUnsafe(state.limit, context)
    }
    for (const [name, own] of gauges) {
      if (names.has(name)) continue
      for (const gauge of Object.values(own)) Metric.removeUnsafe(gauge, context)
      gauges.delete(name)
    }
  })
  yield* Effect.forkScoped(Effect.repeat(sample, Schedule.spaced("5 seconds")))
})
