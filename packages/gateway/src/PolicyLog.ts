/**
 * Lines of the log about policies: what a person should know when calls begin to fail or to wait.
 *
 * | line | level | when |
 * |---|---|---|
 * | `circuit opened` | `Warn` | a circuit breaker rejects calls from now on |
 * | `circuit closed` | `Info` | it lets all calls pass again |
 * | `limit lowered` | `Warn` | a limit of concurrent calls is lower than before |
 * | `retry budget spent` | `Warn` | the first retry is denied since one was allowed |
 *
 * @since 0.1.0
 */
import type * as CircuitBreaker from "@ballast/resilience/CircuitBreaker"
import * as Registry from "@ballast/resilience/Registry"
import type * as RetryBudget from "@ballast/resilience/RetryBudget"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberMap from "effect/FiberMap"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"

type Entry = Registry.Entry

const circuit = (name: string, event: CircuitBreaker.Event): Effect.Effect<void> => {
  if (event._tag !== "Transitioned" || event.from === event.to) return Effect.void
  if (event.to === "Closed") return Effect.logInfo("circuit closed", { circuit: name, because: event.because })
  if (event.to !== "Open") return Effect.void
  const open_for_ms = event.openFor && Math.round(Duration.toMillis(event.openFor))
  return Effect.logWarning("circuit opened", { circuit: name, because: event.because, open_for_ms })
}

interface Resized {
  readonly from: number
  readonly to: number
}

const limit = (name: string, { from, to }: Resized): Effect.Effect<void> =>
  to < from ? Effect.logWarning("limit lowered", { limit: name, from, to }) : Effect.void

const budget = (name: string) => {
  let spent = false
  return (event: RetryBudget.Event): Effect.Effect<void> => {
    const before = spent
    if (event._tag === "Denied") spent = true
    else if (event._tag === "Reserved") spent = false
    return spent && !before ? Effect.logWarning("retry budget spent", { budget: name }) : Effect.void
  }
}

const is = <K extends Entry["kind"]>(entry: Entry, kind: K): entry is Registry.Entry<K> => entry.kind === kind

/** Logs what happens to a handle. */
const follow = (entry: Entry): Effect.Effect<void> => {
  const { name } = entry
  if (is(entry, "circuitBreaker")) return Stream.runForEach(entry.handle.events, (event) => circuit(name, event))
  if (is(entry, "retryBudget")) return Stream.runForEach(entry.handle.events, budget(name))
  if (is(entry, "adaptiveLimit")) {
    return Stream.runForEach(
      entry.handle.events,
      (event) => event._tag === "Adapted" ? limit(name, event) : Effect.void
    )
  }
  if (is(entry, "concurrencyLimit")) {
    return Stream.runForEach(
      entry.handle.events,
      (event) => event._tag === "Resized" ? limit(name, event) : Effect.void
    )
  }
  return Effect.void
}

/**
 * Logs the events of the current registry's policies, later ones included, until the scope closes.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make: Effect.Effect<void, never, Scope.Scope> = Effect.gen(function*() {
  const { changes } = yield* Registry.Current
  const fibers = yield* FiberMap.make<Entry>()
  yield* Effect.forkScoped(
    Stream.runForEach(
      changes,
      ({ _tag, entry }) =>
        _tag === "Added" ? FiberMap.run(fibers, entry, follow(entry)) : FiberMap.remove(fibers, entry)
    ),
    { startImmediately: true }
  )
})
