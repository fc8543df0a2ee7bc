/**
 * What a gateway keeps beyond the life of its process: the ledger of its calls and the clients that are made while it runs, in the database of its settings.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as ClientStore from "./ClientStore.ts"
import * as Database from "./Database.ts"
import * as Ledger from "./Ledger.ts"
import { database, type GatewaySettings } from "./Settings.ts"
import type { StartError } from "./StartError.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface Records {
  readonly database: Database.Database
  readonly ledger: Ledger.Ledger
  /** Clients that are made while the gateway runs. */
  readonly clients: ClientStore.ClientStore
  /** From when on sums by hour are kept, in milliseconds since the epoch. */
  readonly hoursSince: (now: number) => number
}

/**
 * Opens the database of the settings, as they are now. Make it before the server, so that it ends after the last request.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  settings: GatewaySettings
): Effect.fn.Return<Records, StartError, Scope.Scope> {
  const opened = yield* Database.make(database(settings))
  const { keepCalls, keepHours, maxSpool, spool } = settings.ledger
  const ledger = yield* Ledger.make({
    database: opened,
    folder: spool,
    maxSpool: Number(maxSpool),
    keepCalls,
    keepHours
  })
  return {
    database: opened,
    ledger,
    clients: yield* ClientStore.make(opened),
    hoursSince: (now) => now - Duration.toMillis(keepHours)
  }
})
