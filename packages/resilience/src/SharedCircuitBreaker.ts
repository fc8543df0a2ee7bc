/**
 * Circuit breakers that several processes share: what one of them finds out
 * about a dependency, all of them know.
 *
 * Each key of a name is a circuit with the states and rules of `CircuitBreaker`. It is
 * kept in a `CircuitBreakerStore`, whose clock counts: `layerStoreRedis` for
 * processes that share a Redis, `layerStoreMemory` for one process and for
 * tests. While half-open, no more than `probes` calls run across all processes.
 * A probe holds its slot for `probeTimeout` at most, so one whose process died is
 * replaced, and its late result changes nothing.
 *
 * A call of a closed or an open circuit is decided without the store when that
 * said so less than `maxStaleness` ago. How calls ended is told in the
 * background, in order, and the answer renews what is known. So a circuit in
 * use costs a call no round trip; one is made for the first call after a pause,
 * and for each probe. Callers that need the answer of the same request wait for
 * it together. An interrupted one leaves at once and gives its probe back.
 *
 * When the store fails, calls run unguarded, or are rejected if `onStoreError`
 * says so, and a metric counts it. No call waits for it past its caller's deadline:
 * it then goes by what was known last, if that turned calls away.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as CircuitBreaker from "./CircuitBreaker.ts"
import {
  type Answer,
  CircuitBreakerStore,
  CircuitBreakerStoreError,
  type Command,
  type State
} from "./CircuitBreakerStore.ts"
import * as check from "./internal/check.ts"
import * as LocalView from "./internal/circuit/localView.ts"
import * as Settings from "./internal/circuit/settings.ts"
import * as Circuit from "./internal/circuit/sharedCircuit.ts"
import * as SharedSpec from "./internal/circuit/sharedSpec.ts"
import * as Shown from "./internal/circuit/state.ts"
import * as Events from "./internal/events.ts"
import * as Policy from "./internal/policy.ts"
import * as rejection from "./internal/rejection.ts"
import * as telemetry from "./internal/telemetry.ts"
import * as time from "./internal/time.ts"
import * as Keyed from "./Keyed.ts"
import * as Outcome from "./Outcome.ts"

/**
 * The shared circuits of all keys.
 *
 * @category models
 * @since 0.1.0
 */
export interface SharedCircuitBreaker<out E = CircuitBreaker.CircuitOpen> {
  /** The policy of a key. */
  (key: string): Policy.Policy<E>
  /** Reads the state at the store; changes nothing. */
  readonly inspect: (key: string) => Effect.Effect<State, CircuitBreakerStoreError>
  /** What happens through this breaker from the subscription on; other processes tell theirs. */
  readonly events: Stream.Stream<Event>
  /**
   * Changes settings while calls run; what is left out stays. A circuit is held
   * to them from this process's next request on, so change them in all
   * processes. Throws a `RangeError` as `make` does.
   */
  readonly update: (settings: Settings.Settings) => Effect.Effect<void>
  /**
   * Opens a circuit now, for so long or for as long as the next opening would
   * last; then it goes on by itself. Throws a `RangeError` unless the duration is
   * finite and above zero.
   */
  readonly open: (key: string, duration?: Duration.Input) => Effect.Effect<void, CircuitBreakerStoreError>
  /** Closes a circuit now and forgets all failures and openings; then it goes on by itself. */
  readonly close: (key: string) => Effect.Effect<void, CircuitBreakerStoreError>
  /** Rejects every call until told otherwise. */
  readonly isolate: (key: string) => Effect.Effect<void, CircuitBreakerStoreError>
  /** Lets every call through and counts none, until told otherwise. */
  readonly disable: (key: string) => Effect.Effect<void, CircuitBreakerStoreError>
  /** Goes on as usual but rejects no call, until told otherwise. */
  readonly shadow: (key: string) => Effect.Effect<void, CircuitBreakerStoreError>
  /** Ends `isolate` and `disable`, which leaves it closed, and `shadow`, which leaves it as it is. */
  readonly automatic: (key: string) => Effect.Effect<void, CircuitBreakerStoreError>
}

/**
 * What happens to the circuits and to their calls.
 *
 * @category models
 * @since 0.1.0
 */
export type Event =
  /** A state began, by a call or a command of this process. `openFor` is how long, when that is open. */
  | {
    readonly _tag: "Transitioned"
    readonly key: string
    readonly from: CircuitBreaker.State["_tag"]
    readonly to: CircuitBreaker.State["_tag"]
    readonly because: CircuitBreaker.Because
    readonly openFor: Duration.Duration | undefined
    /** Openings in a row so far. */
    readonly openings: number
    readonly shadow: boolean
  }
  /** A call was rejected. */
  | {
    readonly _tag: "Rejected"
    readonly key: string
    readonly state: CircuitBreaker.Rejecting
    readonly retryAfter: Duration.Duration | undefined
  }
  /** A call ran that would have been rejected, were it not for shadow. */
  | { readonly _tag: "Spared"; readonly key: string; readonly state: CircuitBreaker.Rejecting }
  /** A probe past its limit, of whatever process, lost its slot to a call of this one. */
  | { readonly _tag: "ProbeReplaced"; readonly key: string }
  /** The store failed, or gave no answer in time. */
  | {
    readonly _tag: "StoreFailed"
    readonly key: string
    readonly operation: "admit" | "record" | "control" | "inspect"
    readonly error: CircuitBreakerStoreError
  }

/**
 * Options of shared circuit breakers.
 *
 * **Details**
 *
 * The settings are those of `CircuitBreaker`, with another default of
 * `probeTimeout`, 30 seconds, since it is also how long the slot of a process
 * that died stays taken. A count window holds at most 10,000 calls. The delays
 * of a schedule are drawn once, and the 32nd one repeats.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options extends Settings.Settings, Keyed.Bounds {
  /**
   * Name in errors, metrics and span events; keep it of low cardinality. Breakers of one name on one store share the
   * circuit of a key, those of different names don't. Default `"default"`.
   */
  readonly name?: string | undefined
  /** Judges a finished call. Default `Outcome.classify`. */
  readonly classify?: Outcome.Classifier | undefined
  /** What becomes of a call when the store fails: it runs unguarded, or fails with the error. Default `"allow"`. */
  readonly onStoreError?: "allow" | "fail" | undefined
  /** How long an answer of the store may take, above zero. Default 1 second. */
  readonly storeTimeout?: Duration.Input | undefined
  /** How long the store is left alone after it failed; calls go by `onStoreError`. Zero or more. Default 1 second. */
  readonly storeRetry?: Duration.Input | undefined
  /** How old what the store said may be for a call to be decided by it. Zero or more; zero asks each time. Default 100 ms. */
  readonly maxStaleness?: Duration.Input | undefined
}

const defaults = {
  name: "default",
  classify: Outcome.classify,
  onStoreError: "allow",
  storeTimeout: "1 second",
  storeRetry: "1 second",
  maxStaleness: "100 millis",
  probeTimeout: "30 seconds"
} satisfies Options

const durationOf = (millis: number | undefined) => millis === undefined ? undefined : Duration.millis(Math.ceil(millis))

const held = (where: string, settings: Settings.Settings, context: Context.Context<never>) => {
  const checked = Settings.checked(where, settings, context)
  return { spec: SharedSpec.make(where, checked), slowAfter: checked.slowAfter }
}

/**
 * The scope of what runs in the background. When the one around it closes, what
 * is being told to the store gets some time to be told.
 */
const makeBackground = Effect.fnUntraced(function*(storeTimeout: number) {
  const telling = new Set<Fiber.Fiber<void>>()
  const scope = yield* Scope.make()
  yield* Effect.addFinalizer((exit) =>
    Effect.suspend(() => Effect.interruptible(Fiber.awaitAll(telling))).pipe(
      Effect.timeoutOption(storeTimeout),
      Effect.andThen(Scope.close(scope, exit))
    )
  )
  return { scope, telling }
})

const build = <E>(
  options: Options | undefined,
  undecided: (error: CircuitBreakerStoreError) => Effect.Effect<never, E> | undefined
): Effect.Effect<SharedCircuitBreaker<CircuitBreaker.CircuitOpen | E>, never, CircuitBreakerStore | Scope.Scope> => {
  const where = "SharedCircuitBreaker.make"
  const name = options?.name ?? defaults.name
  const initial = Settings.merged({ probeTimeout: defaults.probeTimeout }, options ?? {})
  held(where, initial, Context.empty())
  const storeTimeout = check.positive(where, "storeTimeout", options?.storeTimeout ?? defaults.storeTimeout)
  const storeRetry = check.notNegative(where, "storeRetry", options?.storeRetry ?? defaults.storeRetry)
  const maxStaleness = check.notNegative(where, "maxStaleness", options?.maxStaleness ?? defaults.maxStaleness)

  const rejected = telemetry.makeRejected("circuit-breaker", name)
  const transition = telemetry.makeTransition(name)
  const spared = telemetry.makeSpared(name)
  const waited = telemetry.makeWaited("circuit-breaker", name)
  const storeFailed = telemetry.makeStoreFailed("circuit-breaker", name)

  return Effect.gen(function*() {
    const store = Circuit.named(yield* CircuitBreakerStore, name)
    const background = yield* makeBackground(storeTimeout)
    const events = Events.make<Event>()
    let settings = initial

    const shared: Circuit.Shared<CircuitBreaker.CircuitOpen | E> = {
      store,
      background,
      classify: options?.classify ?? defaults.classify,
      maxStaleness,
      storeTimeout,
      storeRetry,
      settings: held(where, initial, yield* Effect.context<never>()),
      failure: undefined,
      requests: 0,
      unanswered: (cause) => new CircuitBreakerStoreError({ operation: "answer", cause }),
      onFailure: (fiber, key, operation, error) => {
        storeFailed(fiber, operation)
        if (events.active) events.publish({ _tag: "StoreFailed", key, operation, error })
      },
      onAnswer: (fiber, key, { transitions, view }) => {
        for (const { because, from, openFor, to } of transitions) {
          transition(fiber, Shown.nameOf[from], Shown.nameOf[to])
          if (!events.active) continue
          const { openings, shadow } = view
          events.publish({
            _tag: "Transitioned",
            key,
            from,
            to,
            because,
            openFor: durationOf(openFor),
            openings,
            shadow
          })
        }
      },
      onReplaced: (key) => {
        if (events.active) events.publish({ _tag: "ProbeReplaced", key })
      },
      onSpared: (fiber, key, state) => {
        spared(fiber)
        if (events.active) events.publish({ _tag: "Spared", key, state })
      },
      onWaited: waited,
      reject: (fiber, key, state, millis) => {
        rejected(fiber)
        const retryAfter = durationOf(millis)
        if (events.active) events.publish({ _tag: "Rejected", key, state, retryAfter })
        return Effect.fail(rejection.make(CircuitBreaker.CircuitOpen, { breaker: name, state, retryAfter }))
      },
      undecided
    }

    type Rejection = CircuitBreaker.CircuitOpen | E
    const circuits = yield* Keyed.make<Rejection, Circuit.SharedCircuit<Rejection>>({
      make: (key) => Effect.sync(() => Circuit.make(shared, key)),
      atRest: (circuit) => circuit.atRest(),
      idleTimeToLive: options?.idleTimeToLive,
      maxKeys: options?.maxKeys
    })

    const control = (key: string, command: Command): Effect.Effect<void, CircuitBreakerStoreError> =>
      Effect.withFiber((fiber) => {
        const number = ++shared.requests
        const learn = (answer: Answer) =>
          Effect.map(circuits.get(key), ({ local }) => {
            LocalView.learn(local, number, answer.view, time.now(fiber))
            shared.onAnswer(fiber, key, answer)
          })
        return Effect.flatMap(
          Circuit.request(shared, key, "control", store.control(key, shared.settings.spec, command)),
          learn
        )
      })

    const update = (changes: Settings.Settings): Effect.Effect<void> => {
      const where = "SharedCircuitBreaker.update"
      held(where, Settings.merged(settings, changes), Context.empty())
      return Effect.contextWith((context: Context.Context<never>) =>
        Effect.sync(() => {
          const next = Settings.merged(settings, changes)
          shared.settings = held(where, next, context)
          settings = next
        })
      )
    }

    return Object.assign((key: string): Policy.Policy<CircuitBreaker.CircuitOpen | E> => circuits(key), {
      inspect: (key: string) =>
        Effect.suspend(() => Circuit.request(shared, key, "inspect", store.inspect(key, shared.settings.spec))),
      events: events.stream,
      update,
      open: (key: string, duration?: Duration.Input) =>
        control(key, {
          _tag: "Open",
          duration: duration === undefined
            ? undefined
            : Math.ceil(check.positive("SharedCircuitBreaker.open", "duration", duration))
        }),
      close: (key: string) => control(key, { _tag: "Close" }),
      isolate: (key: string) => control(key, { _tag: "Isolate" }),
      disable: (key: string) => control(key, { _tag: "Disable" }),
      shadow: (key: string) => control(key, { _tag: "Shadow" }),
      automatic: (key: string) => control(key, { _tag: "Automatic" })
    })
  })
}

/**
 * Creates shared circuit breakers.
 *
 * **Details**
 *
 * A process may let calls through for `maxStaleness` and a round trip after
 * another one opened a circuit, and rejects them for as long after that closed.
 * Probes have no such leeway. The delay of the store is on no call's way while a
 * circuit is in use; results that the store didn't take are lost, and counted as
 * its errors.
 *
 * Closing the scope waits for results that are being told, up to `storeTimeout`.
 *
 * A stream is one call: it is admitted at its first pull and judged by its
 * exit. A consumer that stops early counts as a success once an item arrived,
 * and else as ignored.
 *
 * Throws a `RangeError` when an option is out of its bounds.
 *
 * **Example** (Sharing a circuit)
 *
 * ```ts
 * import { CircuitBreakerStore, SharedCircuitBreaker } from "@ballast/resilience"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const breaker = yield* SharedCircuitBreaker.make({ name: "providers", minimumCalls: 20 })
 *   const call = breaker("eu-west")(Effect.succeed("answer"))
 *   return yield* call
 * }).pipe(Effect.scoped, Effect.provide(CircuitBreakerStore.layerStoreMemory()))
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export function make(
  options?: Options & { readonly onStoreError?: "allow" | undefined }
): Effect.Effect<SharedCircuitBreaker, never, CircuitBreakerStore | Scope.Scope>
export function make(
  options?: Options
): Effect.Effect<
  SharedCircuitBreaker<CircuitBreaker.CircuitOpen | CircuitBreakerStoreError>,
  never,
  CircuitBreakerStore | Scope.Scope
>
export function make(
  options?: Options
): Effect.Effect<
  SharedCircuitBreaker<CircuitBreaker.CircuitOpen | CircuitBreakerStoreError>,
  never,
  CircuitBreakerStore | Scope.Scope
> {
  const onStoreError = options?.onStoreError ?? defaults.onStoreError
  if (onStoreError !== "allow" && onStoreError !== "fail") {
    check.refuse("SharedCircuitBreaker.make", "onStoreError", "allow or fail", onStoreError)
  }
  return build<CircuitBreakerStoreError>(options, onStoreError === "fail" ? Effect.fail : () => undefined)
}

/**
 * The shared circuit breaker that does nothing: its circuits are disabled for
 * good.
 *
 * @category constructors
 * @since 0.1.0
 */
export const noop: SharedCircuitBreaker<never> = Object.assign((_key: string) => Policy.identity, {
  inspect: () => Effect.succeed<State>({ _tag: "Disabled", openings: 0 }),
  events: Stream.empty,
  update: () => Effect.void,
  open: () => Effect.void,
  close: () => Effect.void,
  isolate: () => Effect.void,
  disable: () => Effect.void,
  shadow: () => Effect.void,
  automatic: () => Effect.void
})
