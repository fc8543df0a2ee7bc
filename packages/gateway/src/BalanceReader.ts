/**
 * Reads the balance of each account now and then, so that `ballast_account_balance` tells of a low one before the first call fails.
 *
 * The first reading comes after a minute at the latest, so that a gateway that starts again and again asks nothing; the next ones after
 * `telemetry.balanceInterval`. One account is asked at a time. A balance that can't be read is a line at `Debug`: calls say what matters.
 *
 * @since 0.1.0
 */
import type { Router } from "@ballast/router/Router"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

/**
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly router: Pick<Router, "inspect" | "lookup">
  /** Between two readings; zero for none. */
  readonly interval: Duration.Duration
}

const timeout = "10 seconds"
const firstAtLatest = Duration.minutes(1)

const read = Effect.fnUntraced(function*(router: Options["router"], provider: string, account: string) {
  const source = yield* router.lookup(provider, account)
  if (source?.provider.paths.balance === undefined) return
  yield* source.balance.pipe(
    Effect.timeout(timeout),
    Effect.catch((error) =>
      Effect.logDebug("a balance could not be read", { provider, account, reason: error.message })
    )
  )
})

/**
 * Reads as long as the scope lives.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = ({ interval, router }: Options): Effect.Effect<void, never, Scope.Scope> => {
  if (Duration.toMillis(interval) === 0) return Effect.void
  const readAll = Effect.flatMap(router.inspect, ({ providers }) =>
    Effect.forEach(
      providers.flatMap(({ accounts, provider }) => accounts.map(({ name }) => [provider, name] as const)),
      ([provider, account]) => read(router, provider, account),
      { discard: true }
    ))
  return Effect.sleep(Duration.min(interval, firstAtLatest)).pipe(
    Effect.andThen(Effect.forever(Effect.andThen(readAll, Effect.sleep(interval)))),
    Effect.forkScoped,
    Effect.asVoid
  )
}
