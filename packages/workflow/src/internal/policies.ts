/** Policies of a service, which all its calls of the process share, of whatever run. */
import type { DeadlineExceeded } from "@ballast/resilience/Deadline"
import * as Policy from "@ballast/resilience/Policy"
import type * as Registry from "@ballast/resilience/Registry"
import * as Field from "@ballast/settings/Field"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

const count = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

const time = Field.duration({ minimum: "1ms", maximum: "1d" })

/** The fields of a service that has policies. */
export const fields = {
  concurrency: Schema.optionalKey(count(1, 10_000)).annotate({
    description:
      "Calls at the same time, of all runs; others wait, within the timeouts of their steps. Default: no limit."
  }),
  rate: Schema.optionalKey(Schema.Struct({
    limit: count(1, 1_000_000).annotate({ description: "Calls that may start per window." }),
    window: Schema.optionalKey(time).annotate({ description: "The window. Default 1s." })
  })).annotate({ description: "Calls that may start in a time, of all runs; others wait. Default: no limit." }),
  circuitBreaker: Schema.optionalKey(Schema.Union([
    Schema.Literal(true),
    Schema.Struct({
      failureRate: Schema.optionalKey(Schema.Finite.check(Schema.isGreaterThan(0), Schema.isLessThanOrEqualTo(1)))
        .annotate({ description: "Share of failed calls that opens the circuit. Default 0.5." }),
      minimumCalls: Schema.optionalKey(count(1, 1_000_000)).annotate({
        description: "Calls that must have ended within the window first. Default 10."
      }),
      window: Schema.optionalKey(time).annotate({ description: "The time that is judged. Default 10s." }),
      openDuration: Schema.optionalKey(time).annotate({
        description: "How long the circuit stays open before a call tries it again. Default 30s."
      })
    })
  ])).annotate({
    description:
      "Whether a service that keeps failing is left alone for a while: its calls fail at once, and may be tried again."
  })
}

const Fields = Schema.Struct(fields)
export type Policies = typeof Fields.Type

/** Calls that may wait for their turn. */
const queue = 100_000

const make = (name: string, { circuitBreaker, concurrency, rate }: Policies) =>
  Policy.common({
    name,
    ...circuitBreaker && { circuitBreaker: circuitBreaker === true ? {} : circuitBreaker },
    ...rate &&
      { rateLimiter: { limit: rate.limit, window: rate.window ?? "1 second", maxWait: "1 hour", maxQueue: queue } },
    ...concurrency !== undefined && { concurrencyLimit: { limit: concurrency, queue, maxWait: Infinity } }
  })

/** Is told the handles of policies by their kinds. */
export type Register = (handles: Registry.Handles) => Effect.Effect<void>

/** A function that puts the policies around a call; made when the first call is. */
export const around = (
  name: string,
  policies: Policies,
  register: Register = () => Effect.void
): <A, E>(call: Effect.Effect<A, E>) => Effect.Effect<A, E | Policy.Rejection | DeadlineExceeded> => {
  const { circuitBreaker, concurrency, rate } = policies
  if (circuitBreaker === undefined && concurrency === undefined && rate === undefined) return (call) => call
  let made: Effect.Success<ReturnType<typeof make>> | undefined
  const first = Effect.flatMap(make(name, policies), (policy) => {
    if (made !== undefined) return Effect.succeed(made)
    made = policy
    return Effect.as(register(policy.parts), policy)
  })
  const policy = Effect.suspend(() => made === undefined ? first : Effect.succeed(made))
  return (call) => Effect.flatMap(policy, (policy) => policy(call))
}
