/** The record of runs while its database is down. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import { Rejection } from "../../Rejection.ts"

const down = new Rejection({
  case: "RecordsUnavailable",
  detail: "Runs can not be read or kept now, since the gateway's database is down. Try again later.",
  retryAfter: Duration.seconds(5)
})

export const unlessDown = <A>(effect: Effect.Effect<A, SqlError>): Effect.Effect<A, Rejection> =>
  Effect.catch(
    effect,
    ({ message }) =>
      Effect.andThen(
        Effect.logWarning("the runs of workflows can not be reached", { reason: message }),
        Effect.fail(down)
      )
  )
