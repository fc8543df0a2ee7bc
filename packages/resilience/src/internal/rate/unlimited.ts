/** What a limiter without a limit does, in process and shared. */
import * as Effect from "effect/Effect"
import * as Policy from "../policy.ts"
import type { Reservation } from "./reservation.ts"

const nothing = () => Effect.void
const unreserved = (weight = 1): Effect.Effect<Reservation> => Effect.succeed({ weight, settle: nothing })

export const unlimited = {
  weigh: () => Policy.identity,
  reserve: unreserved,
  reserveScoped: unreserved,
  settle: nothing,
  pause: nothing,
  resume: Effect.void,
  block: nothing,
  unblock: Effect.void,
  penalize: nothing,
  reward: nothing
}
