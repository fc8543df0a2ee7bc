import { LoadShed, Priority } from "@ballast/resilience"
import { Cause, Deferred, Duration, Effect, Exit } from "effect"
import { TestClock } from "effect/testing"

export const start = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.forkChild(self, { startImmediately: true })

const at = (priority: Priority.Priority) => <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.provideService(self, Priority.CurrentPriority, priority)

export const isShed = <A, E>(exit: Exit.Exit<A, E>, reason?: LoadShed.Reason) => {
  const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
  return error instanceof LoadShed.Shed && (reason === undefined || error.reason === reason)
}

/** Calls that run until they are told to end; `log` says what became of each, in order. */
export const makeCalls = (shed: LoadShed.LoadShed) => {
  const gates: Array<Deferred.Deferred<void>> = []
  const log: Array<string> = []
  const call = Effect.fnUntraced(function*(id: string, priority: Priority.Priority = "normal") {
    const gate = yield* Deferred.make<void>()
    const guarded = shed(Effect.suspend(() => {
      log.push(`run ${id}`)
      gates.push(gate)
      return Deferred.await(gate)
    }))
    return yield* start(Effect.onExit(at(priority)(guarded), (exit) =>
      Effect.sync(() => {
        if (isShed(exit)) log.push(`shed ${id}`)
      })))
  })
  /** Ends the call that has run for the longest. */
  const end = Effect.suspend(() => {
    const gate = gates.shift()
    return gate === undefined ? Effect.void : Effect.andThen(Deferred.succeed(gate, undefined), settle)
  })
  return { call, end, log }
}

/** Lets everything run that can without time passing. */
export const settle = TestClock.adjust(0)

/** A shedder whose one slot is taken by the call `first`. */
export const makeFull = Effect.fnUntraced(function*(options?: Partial<LoadShed.Options>) {
  const shed = yield* LoadShed.make({ limit: 1, ...options })
  const calls = makeCalls(shed)
  yield* calls.call("first")
  return { shed, ...calls }
})

export const glance = Effect.fnUntraced(function*(shed: LoadShed.LoadShed) {
  const { delay, overloaded, queued, running } = yield* shed.inspect
  return { running, queued, overloaded, delay: Duration.toMillis(delay) }
})

export const rest = { running: 0, queued: 0, overloaded: false, delay: 0 }
