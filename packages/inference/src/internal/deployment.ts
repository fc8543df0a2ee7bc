/** One version that is loaded: its sessions, its circuit breaker, and the calls in flight that it waits for before it is released. */
import * as CircuitBreaker from "@ballast/resilience/CircuitBreaker"
import * as ByteSize from "effect/ByteSize"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import * as Scope from "effect/Scope"
import { availableParallelism } from "node:os"
import { InferenceError } from "../InferenceError.ts"
import type { ModelSettings } from "../ModelSettings.ts"
import type * as Repository from "../Repository.ts"
import * as golden from "./golden.ts"
import * as Pool from "./pool.ts"
import type * as ports from "./ports.ts"
import type { Failure, TaskOptions } from "./protocol.ts"
import type { Tensors, Verifying } from "./sessions.ts"

export interface Deployment extends ports.Ports {
  readonly source: Repository.Version
  readonly infer: Pool.Pool["infer"]
  readonly queued: () => number
  /** Whoever calls `infer` counts itself in before, and out after with `left`. */
  inFlight: number
  readonly left: () => void
  /** Waits for the calls in flight, and releases the memory. */
  readonly leave: Effect.Effect<void>
}

/** Sessions of a version. */
const instancesOf = ({ instances }: ModelSettings): number => instances ?? Math.min(4, availableParallelism())

/** What the version takes of memory when it is loaded, as far as its files say. */
export const bytesOf = ({ bytes, settings }: Repository.Version): number => bytes * instancesOf(settings)

const taskOf = ({ labels, maxTokens, normalize, pooling, softmax, task }: ModelSettings): TaskOptions => ({
  task,
  ...(labels && { labels }),
  softmax,
  pooling,
  normalize,
  maxTokens
})

const verify = (settings: ModelSettings) => (session: Verifying): Effect.Effect<void, Failure> => {
  const wrong = settings.batching && golden.batchable(session)
  return wrong === undefined ? golden.verify(settings)(session) : Effect.fail(wrong)
}

const poolOf = ({ folder, name, settings, version }: Repository.Version) =>
  Pool.make({
    model: name,
    version,
    runtime: settings.runtime,
    load: {
      folder,
      task: taskOf(settings),
      provider: settings.provider,
      sha256: settings.sha256,
      maxBytes: ByteSize.toNumberUnsafe(settings.maxBytes)
    },
    instances: instancesOf(settings),
    shapes: settings.shapes,
    verify: verify(settings),
    batching: settings.batching &&
      { maxSize: settings.batching.maxSize, delay: Duration.toMillis(settings.batching.delay) },
    queue: settings.queue,
    deadline: Duration.toMillis(settings.deadline),
    maxBytes: ByteSize.toNumberUnsafe(settings.maxBytes)
  })

/** Puts the circuit breaker of the settings around calls, if there is one. */
const guarded = Effect.fnUntraced(
  function*({ name, settings, version }: Repository.Version, infer: Pool.Pool["infer"]) {
    const { breaker } = settings
    if (breaker === undefined) return infer
    const guard = yield* CircuitBreaker.make({
      name: `${name}/${version}`,
      trip: CircuitBreaker.consecutive(breaker.failures),
      openDuration: breaker.openFor
    })
    return (inputs: Tensors, outputs: ReadonlyArray<string> | undefined) =>
      Effect.catchTag(guard(infer(inputs, outputs)), "CircuitOpen", ({ retryAfter }) =>
        Effect.fail(
          new InferenceError({
            reason: "Overloaded",
            model: name,
            version,
            detail: `its last ${breaker.failures} calls failed, so it rests`,
            retryAfter
          })
        ))
  }
)

/** Loads and verifies a version, to live until it leaves or the scope closes. */
export const make = Effect.fnUntraced(function*(
  source: Repository.Version
): Effect.fn.Return<Deployment, Failure, Scope.Scope> {
  const own = yield* Scope.fork(yield* Effect.scope)
  const pool = yield* Scope.provide(poolOf(source), own).pipe(Effect.onError(() => Scope.close(own, Exit.void)))
  const empty = Latch.makeUnsafe()
  const deployment: Deployment = {
    source,
    inputs: pool.inputs,
    outputs: pool.outputs,
    infer: yield* guarded(source, pool.infer),
    queued: pool.queued,
    inFlight: 0,
    left: () => {
      deployment.inFlight--
      if (deployment.inFlight === 0) empty.openUnsafe()
    },
    leave: Effect.suspend(() => {
      if (deployment.inFlight > 0) empty.closeUnsafe()
      else empty.openUnsafe()
      return Effect.andThen(empty.await, Scope.close(own, Exit.void))
    })
  }
  return deployment
})
