/** The handlers of the admin API for what the gateway keeps. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import * as Redacted from "effect/Redacted"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import type { Admin } from "../Admin.ts"
import { AdminApi, CurrentAdmin, type Order } from "../AdminApi.ts"
import * as Calls from "../Calls.ts"
import { type Clients, parseTime } from "../ClientKeys.ts"
import type { Made, Stored } from "../ClientStore.ts"
import * as Comparison from "../Comparison.ts"
import * as Forget from "../Forget.ts"
import * as Purges from "../Purges.ts"
import type { Records } from "../Records.ts"
import type * as RecordsApi from "../RecordsApi.ts"
import * as UsageReport from "../UsageReport.ts"
import { Conflict, StoreDown, WrongRequest } from "./adminErrors.ts"
import { parseWhen } from "./when.ts"

const down = (message: string) => new StoreDown({ error: { code: "store_unavailable", message } })

const sqlDown = ({ message }: SqlError) => down(`The gateway's database can not be used now: ${message}`)

/** Runs with what is kept. */
const withRecords = <A, E>(
  records: Records | undefined,
  run: (records: Records) => Effect.Effect<A, E>
): Effect.Effect<A, Exclude<E, SqlError> | StoreDown> =>
  records === undefined
    ? Effect.fail(down("This gateway keeps no records."))
    : Effect.mapError(
      run(records),
      // TypeScript does not take the guarded type out of a type parameter.
      (error) => isSqlError(error) ? sqlDown(error) : error as Exclude<E, SqlError>
    )

const orNull = <A>(value: A | undefined): A | null => value ?? null

const fromStore = (currency: string) => (stored: Stored): typeof RecordsApi.Client.Type => ({
  name: stored.name,
  origin: "database",
  owner: orNull(stored.owner),
  labels: stored.labels ?? {},
  models: orNull(stored.models),
  addresses: orNull(stored.addresses),
  expiresAt: orNull(stored.expiresAt),
  limits: orNull(stored.limits),
  currency,
  createdAt: stored.createdAt,
  createdBy: stored.createdBy,
  revokedAt: orNull(stored.revokedAt),
  keys: stored.keys.map(({ expiresAt, ...key }) => ({ ...key, expiresAt: orNull(expiresAt) }))
})

const fromSettings =
  (currency: string) => ([name, client]: [string, Clients[string]]): typeof RecordsApi.Client.Type => ({
    name,
    origin: "settings",
    owner: orNull(client.owner),
    labels: client.labels,
    models: orNull(client.models),
    addresses: orNull(client.addresses),
    expiresAt: orNull(client.expires === undefined ? undefined : parseTime(client.expires)),
    limits: orNull(client.limits),
    currency,
    createdAt: null,
    createdBy: null,
    revokedAt: null,
    keys: []
  })

const made = (currency: string) => ({ client, key }: Made) => ({
  client: fromStore(currency)(client),
  key: Redacted.value(key)
})

const defaultOverlap = Duration.hours(24)

export interface Options {
  readonly records: Records | undefined
  /** The clients of the settings. */
  readonly clients: () => Clients
  /** The currency of budgets. */
  readonly currency: () => string
  readonly admin: Pick<Admin, "act">
}

const wrong = (message: string) => new WrongRequest({ error: { code: "invalid_request", message } })

const inSettings = (name: string) =>
  new Conflict({
    error: { code: "conflict", message: `The client ${name} stands in the settings. Choose another name.` }
  })

/** Carries out an act, and tells other gateways of a purge. */
export const act = ({ admin, records }: Pick<Options, "admin" | "records">, order: Order, by: string) =>
  Effect.tap(admin.act(order, by), () => {
    if (order.do !== "purge" || records === undefined) return Effect.void
    const { do: _, ...purge } = order
    return withRecords(records, ({ database }) => Purges.tell(database, purge))
  })

/** Drops the answers to a client from the caches, as an act. */
const purge = (admin: Options["admin"], client: string, by: string) =>
  admin.act({ do: "purge", client }, by).pipe(
    Effect.catch((error) => error instanceof StoreDown ? Effect.fail(error) : Effect.die(error)),
    Effect.map(({ dropped }) => dropped ?? { exact: 0, semantic: 0, store: null })
  )

export const clients = ({ admin, clients, currency, records }: Options) =>
  HttpApiBuilder.group(AdminApi, "clients", (handlers) =>
    handlers.handleAll({
      clients: () =>
        withRecords(records, (records) =>
          Effect.map(records.clients.list, (stored) => [
            ...Object.entries(clients()).map(fromSettings(currency())),
            ...stored.map(fromStore(currency()))
          ])),
      createClient: ({ payload: { expires, ...client } }) =>
        Effect.flatMap(CurrentAdmin, (by) =>
          withRecords(records, (records) =>
            Effect.gen(function*() {
              if (Object.hasOwn(clients(), client.name)) return yield* inSettings(client.name)
              const expiresAt = expires === undefined ? undefined : parseTime(expires)
              if (expiresAt !== undefined && expiresAt <= (yield* Clock.currentTimeMillis)) {
                return yield* wrong("expires: Expected a time to come")
              }
              return made(currency())(yield* records.clients.create({ ...client, expiresAt }, by))
            }))),
      rotateKey: ({ params, payload: { overlap = defaultOverlap } }) =>
        Effect.flatMap(CurrentAdmin, (by) =>
          withRecords(records, (records) =>
            Effect.map(records.clients.rotate(params.name, overlap, by), made(currency())))),
      changeClient: ({ params, payload: { limits } }) =>
        Effect.flatMap(CurrentAdmin, (by) =>
          withRecords(records, (records) =>
            Effect.map(records.clients.limit(params.name, limits, by), fromStore(currency())))),
      revokeClient: ({ params }) =>
        Effect.flatMap(CurrentAdmin, (by) =>
          withRecords(records, (records) =>
            Effect.map(records.clients.revoke(params.name, by), fromStore(currency())))),
      forgetClient: ({ params }) =>
        Effect.flatMap(CurrentAdmin, (by) =>
          withRecords(records, (records) =>
            Effect.gen(function*() {
              const answers = yield* purge(admin, params.name, by)
              const forgotten = { client: params.name, ...yield* Forget.client(records, params.name), answers }
              yield* Effect.logInfo("a client's records are deleted", { by, ...forgotten })
              return forgotten
            })))
    }))

const day = 86_400_000

interface Range {
  readonly since?: string | undefined
  readonly until?: string | undefined
}

/** The last seven days, where nothing else is said. */
const rangeOf = ({ since, until }: Range) =>
  Effect.flatMap(Clock.currentTimeMillis, (now) => {
    const from = (since === undefined ? undefined : parseWhen(since, now)) ?? now - 7 * day
    const to = (until === undefined ? undefined : parseWhen(until, now)) ?? now
    if (from < to) return Effect.succeed({ from, to, now })
    return Effect.fail(
      until === undefined
        ? wrong("since: Expected a time before until, which is now where it is left out")
        : wrong("until: Expected a time after since, which is 7d where it is left out")
    )
  })

export const ledger = ({ records }: Pick<Options, "records">) =>
  HttpApiBuilder.group(AdminApi, "ledger", (handlers) =>
    handlers.handleAll({
      usage: ({ query: { by = "client", since, until, ...narrow } }) =>
        withRecords(records, ({ database, hoursSince }) =>
          Effect.flatMap(rangeOf({ since, until }), ({ now, ...range }) =>
            UsageReport.make(database, { ...narrow, by: by === "" ? [] : by.split(","), ...range }, hoursSince(now)))),
      calls: ({ query: { limit = 1_000, since, until, ...narrow } }) =>
        withRecords(records, ({ database }) =>
          Effect.flatMap(rangeOf({ since, until }), ({ from, to }) =>
            Calls.read(database, { ...narrow, limit, from, to }))),
      compare: ({ query: { since, until, ...arms } }) =>
        withRecords(records, ({ database }) =>
          Effect.flatMap(rangeOf({ since, until }), ({ from, to }) =>
            Comparison.make(database, { ...arms, from, to })))
    }))
