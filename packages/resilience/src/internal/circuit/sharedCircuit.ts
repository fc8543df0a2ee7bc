/**
 * One shared circuit as one process sees it: decides calls by what the store
 * said lately, asks it otherwise, and tells it in the background how calls ended.
 *
 * At most one request for admission and one with results are under way for a
 * key at any time. Callers that come in between wait for that admission's answer
 * and decide by it; results that come in between go with the next request. Both
 * run in fibers of their own, so that an interrupted caller is not held up, and a
 * probe that was granted to nobody is given back.
 */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import type * as Outcome from "../../Outcome.ts"
import { CurrentAttempt } from "../currentAttempt.ts"
import { deadlineOf } from "../currentDeadline.ts"
import * as guard from "../guard.ts"
import type { Policy } from "../policy.ts"
import * as storeKey from "../storeKey.ts"
import * as time from "../time.ts"
import * as LocalView from "./localView.ts"
import type * as Machine from "./machine.ts"
import type { Answer, CircuitBreakerStore, CircuitBreakerStoreError, Result, Spec } from "./store.ts"

export type AnyFiber = Fiber.Fiber<unknown, unknown>

/** What all circuits of a breaker have in common. */
export interface Shared<E> {
  readonly store: CircuitBreakerStore["Service"]
  /** What runs in the background ends with the scope; that which tells results is given time to. */
  readonly background: { readonly scope: Scope.Scope; readonly telling: Set<Fiber.Fiber<void>> }
  readonly classify: Outcome.Classifier
  readonly maxStaleness: number
  readonly storeTimeout: number
  readonly storeRetry: number
  /** What may be changed while calls run. */
  settings: { readonly spec: Spec; readonly slowAfter: number }
  /** The last failure of the store, until it answers; until then it isn't asked for a call. */
  failure: { readonly until: number; readonly error: CircuitBreakerStoreError } | undefined
  /** Requests so far. */
  requests: number
  readonly unanswered: (cause: unknown) => CircuitBreakerStoreError
  readonly onFailure: (fiber: AnyFiber, key: string, operation: Operation, error: CircuitBreakerStoreError) => void
  readonly onAnswer: (fiber: AnyFiber, key: string, answer: Answer) => void
  readonly onReplaced: (key: string) => void
  readonly onSpared: (fiber: AnyFiber, key: string, state: Machine.Rejecting) => void
  readonly onWaited: (fiber: AnyFiber, millis: number) => void
  /** Rejects a call. */
  readonly reject: (
    fiber: AnyFiber,
    key: string,
    state: Machine.Rejecting,
    retryAfter: number | undefined
  ) => Effect.Effect<never, E>
  /** What becomes of a call that the store doesn't decide. */
  readonly undecided: (error: CircuitBreakerStoreError) => Effect.Effect<never, E> | undefined
}

export type Operation = "admit" | "record" | "control" | "inspect"

/** A request for admission; undefined if it is answered. */
type Asking = Deferred.Deferred<CircuitBreakerStoreError | undefined>

interface Entry<E> {
  wait: Effect.Effect<void, E> | undefined
  /** Undefined when nobody needs to hear of the call's end. */
  admission: { readonly era: string; readonly probe: number | undefined } | undefined
  startedAt: number
  /** Whether it is not the first attempt of its call. */
  readonly again: boolean
  /** Whether it is decided, or gone: a probe that comes now is for nobody. */
  settled: boolean
}

/** A circuit as a policy, with what `Keyed` and control by hand need. */
export interface SharedCircuit<E> extends Policy<E> {
  readonly local: LocalView.LocalView
  readonly atRest: () => boolean
}

/** Results in one request, and results that may wait for one; a script that counts more would hold Redis up. */
const largestBatch = 500
const mostPending = 10_000

/** The store as the breakers of one name know it: theirs are the circuits of its keys. */
export const named = (store: CircuitBreakerStore["Service"], name: string): CircuitBreakerStore["Service"] => {
  const keyOf = storeKey.within(name)
  return {
    admit: (key, spec) => store.admit(keyOf(key), spec),
    record: (key, spec, results) => store.record(keyOf(key), spec, results),
    control: (key, spec, command) => store.control(keyOf(key), spec, command),
    inspect: (key, spec) => store.inspect(keyOf(key), spec)
  }
}

/** One request to the store, in its time. What went wrong is noted before it is answered. */
export const request = <A, E>(
  shared: Shared<E>,
  key: string,
  operation: Operation,
  effect: Effect.Effect<A, CircuitBreakerStoreError>
): Effect.Effect<A, CircuitBreakerStoreError> =>
  Effect.withFiber((fiber) =>
    effect.pipe(
      // A store that is broken is no reason for calls to fail, or to go on asking it.
      Effect.catchDefect((defect) => Effect.fail(shared.unanswered(defect))),
      Effect.timeoutOrElse({
        duration: shared.storeTimeout,
        orElse: () => Effect.fail(shared.unanswered(new Cause.TimeoutError("no answer in time")))
      }),
      Effect.tapError((error) =>
        Effect.sync(() => {
          shared.failure = { until: time.now(fiber) + shared.storeRetry, error }
          shared.onFailure(fiber, key, operation, error)
        })
      ),
      Effect.tap(() =>
        Effect.sync(() => {
          shared.failure = undefined
        })
      )
    )
  )

export const make = <E>(shared: Shared<E>, key: string): SharedCircuit<E> => {
  const local = LocalView.make()
  let asking: Asking | undefined
  let pending: Array<Result> = []
  let telling = false

  const background = (fiber: AnyFiber, effect: Effect.Effect<void>) =>
    Fiber.runIn(Effect.runForkWith(fiber.context)(effect), shared.background.scope)

  const learn = (fiber: AnyFiber, number: number, answer: Answer) => {
    LocalView.learn(local, number, answer.view, time.now(fiber))
    shared.onAnswer(fiber, key, answer)
  }

  const tellNext: Effect.Effect<void> = Effect.withFiber((fiber) => {
    if (pending.length === 0) {
      telling = false
      return Effect.void
    }
    const batch = pending.slice(0, largestBatch)
    pending = pending.slice(largestBatch)
    const number = ++shared.requests
    return Effect.flatMap(
      Effect.exit(request(shared, key, "record", shared.store.record(key, shared.settings.spec, batch))),
      (exit) => {
        if (Exit.isSuccess(exit)) learn(fiber, number, exit.value)
        return tellNext
      }
    )
  })

  const tell = (fiber: AnyFiber, result: Result) => {
    if (pending.length >= mostPending) {
      shared.onFailure(fiber, key, "record", shared.unanswered("too many results wait to be told"))
      return
    }
    pending.push(result)
    if (telling) return
    telling = true
    const teller = background(
      fiber,
      Effect.onExitPrimitive(tellNext, () => {
        telling = false
        return undefined
      })
    )
    shared.background.telling.add(teller)
    teller.addObserver(() => {
      shared.background.telling.delete(teller)
    })
  }

  const giveBack = (fiber: AnyFiber, era: string, probe: number) =>
    tell(fiber, { era, probe, outcome: "ignored", slow: false, retryAfter: undefined })

  /** Asks the store for a call; what it says is known to all who wait once `asking` is done. */
  const ask = (fiber: AnyFiber, entry: Entry<E>): Asking => {
    const done: Asking = Deferred.makeUnsafe()
    const number = ++shared.requests
    asking = done
    background(
      fiber,
      Effect.withFiber((own) =>
        Effect.onExitPrimitive(
          request(shared, key, "admit", shared.store.admit(key, shared.settings.spec)),
          (exit) => {
            asking = undefined
            let error: CircuitBreakerStoreError | undefined
            if (Exit.isSuccess(exit)) {
              const { probe, replaced, view } = exit.value
              if (probe !== undefined) {
                if (entry.settled) giveBack(own, view.era, probe)
                else entry.admission = { era: view.era, probe }
              }
              learn(own, number, exit.value)
              if (replaced) shared.onReplaced(key)
            } else {
              const failed = Cause.findErrorOption(exit.cause)
              if (failed._tag === "Some") error = failed.value
              else {
                // Interrupted: the breaker's scope is closed.
                error = shared.unanswered("the scope of the breaker is closed")
                shared.failure = { until: Infinity, error }
              }
            }
            Deferred.doneUnsafe(done, Exit.succeed(error))
            return undefined
          }
          // Those who wait have been told of the failure, and the metric has it.
        ).pipe(Effect.ignore)
      )
    )
    return done
  }

  /** Decides a call, by what is known if that may be trusted. The effect waits, or rejects. */
  const decide = (fiber: AnyFiber, entry: Entry<E>, trusted: boolean): Effect.Effect<void, E> | undefined => {
    // A probe of its own.
    if (entry.admission !== undefined) {
      entry.settled = true
      return undefined
    }
    const now = time.now(fiber)
    const { failure } = shared
    if (failure !== undefined && now < failure.until) return undecided(entry, failure.error)
    // Whoever waited for an answer takes it, however little staleness is allowed.
    const fresh = trusted || now - local.at < shared.maxStaleness
    const decision: LocalView.Decision = fresh ? LocalView.decide(local, now) : { _tag: "Ask" }
    if (decision._tag === "Ask") return waitFor(fiber, entry, asking ?? ask(fiber, entry))
    entry.settled = true
    switch (decision._tag) {
      case "Run":
        entry.admission = { era: decision.era, probe: undefined }
        return undefined
      case "Reject":
        return shared.reject(fiber, key, decision.state, decision.retryAfter)
      case "Unjudged":
        if (decision.spared !== undefined) shared.onSpared(fiber, key, decision.spared)
        return undefined
    }
  }

  const undecided = (entry: Entry<E>, error: CircuitBreakerStoreError): Effect.Effect<void, E> | undefined => {
    entry.settled = true
    return shared.undecided(error)
  }

  /** The caller's time is over before the store has answered. It would be for nothing to go against what was known last. */
  const pressed = (fiber: AnyFiber, entry: Entry<E>): Effect.Effect<void, E> | undefined => {
    const refusal = LocalView.lastRefusal(local, time.now(fiber))
    if (refusal === undefined) return undecided(entry, shared.unanswered("the caller's deadline came first"))
    entry.settled = true
    return shared.reject(fiber, key, refusal.state, refusal.retryAfter)
  }

  /** Waits for an answer, no longer than the caller has, and decides by it. */
  const waitFor = (fiber: AnyFiber, entry: Entry<E>, answer: Asking): Effect.Effect<void, E> => {
    const since = time.now(fiber)
    const left = deadlineOf(fiber) - since
    const answered = Effect.map(
      Deferred.await(answer),
      (error) => () => error === undefined ? decide(fiber, entry, true) : undecided(entry, error)
    )
    const inTime = left === Infinity ? answered : Effect.timeoutOrElse(answered, {
      duration: Math.max(0, left),
      orElse: () => Effect.succeed(() => pressed(fiber, entry))
    })
    return Effect.flatMap(inTime, (decided) => {
      const now = time.now(fiber)
      // A store in memory has answered before anybody waits.
      if (now > since) shared.onWaited(fiber, now - since)
      return decided() ?? Effect.void
    })
  }

  const start = (fiber: AnyFiber, entry: Entry<E>, wait: Effect.Effect<void, E>): Effect.Effect<void, E> =>
    Effect.tap(wait, () =>
      Effect.sync(() => {
        entry.startedAt = time.now(fiber)
      }))

  const enter = (fiber: AnyFiber): Entry<E> => {
    const measured = shared.settings.slowAfter !== Infinity
    const entry: Entry<E> = {
      wait: undefined,
      admission: undefined,
      startedAt: measured ? time.now(fiber) : NaN,
      again: fiber.getRef(CurrentAttempt) > 1,
      settled: false
    }
    const wait = decide(fiber, entry, false)
    entry.wait = wait !== undefined && measured ? start(fiber, entry, wait) : wait
    return entry
  }

  const exit = (entry: Entry<E>, exit: Exit.Exit<unknown, unknown>, fiber: AnyFiber, held: number): void => {
    entry.settled = true
    const { admission, again, startedAt } = entry
    // A call counts once: later attempts of a retry count as probes only.
    if (admission === undefined || (again && admission.probe === undefined)) return
    let outcome: Outcome.Outcome | undefined
    try {
      outcome = shared.classify(exit)
    } finally {
      // The slot is given back also when the classifier throws.
      if (admission.probe !== undefined && (outcome === undefined || outcome._tag === "Ignored")) {
        giveBack(fiber, admission.era, admission.probe)
      }
    }
    if (outcome._tag === "Ignored") return
    const { slowAfter } = shared.settings
    const hint = outcome._tag === "Failure" ? outcome.retryAfter : undefined
    tell(fiber, {
      ...admission,
      outcome: outcome._tag === "Failure" ? "failure" : "success",
      slow: outcome.slow ?? (slowAfter !== Infinity && time.now(fiber) - startedAt - held >= slowAfter),
      retryAfter: hint === undefined ? undefined : Math.ceil(Duration.toMillis(hint))
    })
  }

  const isTimed = ({ startedAt }: Entry<E>) => !Number.isNaN(startedAt)

  return Object.assign(guard.makePolicy<Entry<E>, E>({ enter, exit, isTimed }), {
    local,
    atRest: () => asking === undefined && !telling
  })
}
