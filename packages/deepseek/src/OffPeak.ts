/**
 * Lets work that can wait run when it is cheaper.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import type * as Pricing from "./Pricing.ts"

/**
 * Which calls wait, and how long at most.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options extends Pick<Pricing.Call, "provider" | "model"> {
  readonly pricing: Pick<Pricing.Pricing, "nextOffPeak">
  /** The longest wait, zero or more; after it the work runs at any price. Default 24 hours. */
  readonly maxWait?: Duration.Input | undefined
}

/**
 * How long from now the work waits for the cheaper hours: zero within them, and where the price is the same at all hours or not known.
 *
 * @category accessors
 * @since 0.1.0
 */
export const wait = ({ maxWait = "24 hours", model, pricing, provider }: Options): Effect.Effect<Duration.Duration> =>
  Effect.map(Clock.currentTimeMillis, (at) => {
    const next = Result.getOrElse(pricing.nextOffPeak({ provider, model, at }), () => at)
    return Duration.min(Duration.millis(next - at), Duration.fromInputUnsafe(maxWait))
  })

/**
 * Delays a program until the cheaper hours.
 *
 * **Example** (A report that is not urgent)
 *
 * ```ts
 * import { OffPeak, Pricing } from "@ballast/deepseek"
 * import { Effect } from "effect"
 *
 * const later = OffPeak.defer({
 *   pricing: Pricing.make(),
 *   provider: "deepseek",
 *   model: "deepseek-flash",
 *   maxWait: "8 hours"
 * })
 * const program = later(Effect.log("at half price"))
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const defer = (options: Options) => <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.flatMap(wait(options), (duration) => Effect.delay(self, duration))

/**
 * A schedule that recurs at the beginning of cheaper hours, at once within them: for work that is repeated, such as draining a queue.
 * Combine it with one that spaces or ends it.
 *
 * @category schedules
 * @since 0.1.0
 */
export const schedule = (options: Options): Schedule.Schedule<number> =>
  Schedule.addDelay(Schedule.forever, () => wait(options))
