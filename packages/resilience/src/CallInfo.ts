/**
 * What a call cost so far, for the program that started it: attempts, time
 * waited in policies, time to the first token, the failure of the last attempt.
 *
 * A program that wants to know puts a fresh record around its call; the policies
 * and the tracing inside write to it while the call runs, each in one
 * synchronous step. Without a record nothing is kept. A record belongs to one
 * call: two calls with the same record add up.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"

/**
 * What a call cost so far. Mutable: it is written to until the call has ended.
 *
 * @category models
 * @since 0.1.0
 */
export interface CallInfo {
  /** Attempts that were begun, those of hedges included. A call that a policy rejected outright has none. */
  attempts: number
  /** Milliseconds waited in policies: for the next attempt, a token, a slot. Waits at the same time add up. */
  waited: number
  /** Milliseconds that attempts took at the service, those of hedges included. */
  upstream: number
  /** Milliseconds from the start of the call to the first token of its stream; undefined before, and for a whole answer. */
  firstToken: number | undefined
  /** Name of the error that the last attempt ended with; undefined when it succeeded, or none has ended. */
  failure: string | undefined
  /** How often its stream broke off and was taken up again. */
  resumptions: number
}

/**
 * Creates an empty record.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (): CallInfo => ({
  attempts: 0,
  waited: 0,
  upstream: 0,
  firstToken: undefined,
  failure: undefined,
  resumptions: 0
})

/**
 * The record of the call at hand. Default none.
 *
 * **Example** (Reading what a call cost)
 *
 * ```ts
 * import { CallInfo, Retry } from "@ballast/resilience"
 * import { Effect } from "effect"
 *
 * const retry = Retry.make({ times: 2, base: "1 millis" })
 * const program = Effect.gen(function*() {
 *   const info = CallInfo.make()
 *   yield* Effect.exit(retry(Effect.fail("down")).pipe(Effect.provideService(CallInfo.Current, info)))
 *   yield* Effect.log(info.waited)
 * })
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category references
 * @since 0.1.0
 */
export const Current: Context.Reference<CallInfo | undefined> = Context.Reference(
  "@ballast/resilience/CallInfo/Current",
  { defaultValue: (): CallInfo | undefined => undefined }
)
