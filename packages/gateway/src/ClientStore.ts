/**
 * Clients that are made while the gateway runs, in its database, with keys that are shown once and stored as hashes.
 *
 * All of them are held in memory, so that a request costs one look into a map. A change is in force in this process at once; other processes look for changes every two
 * seconds, so that a revoked key works for two seconds more at most. While the database is down, what was read last holds.
 *
 * Rotation gives a new key, and lets the others work on for a while, so that both work until the client has taken up the new one.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { randomBytes } from "node:crypto"
import type { Client } from "./Client.ts"
import * as ClientKeys from "./ClientKeys.ts"
import type { Database } from "./Database.ts"
import * as addresses from "./internal/addresses.ts"
import { Conflict, UnknownName } from "./internal/adminErrors.ts"
import * as Limits from "./Limits.ts"

/**
 * What is said of a new client.
 *
 * @category models
 * @since 0.1.0
 */
export interface NewClient {
  readonly name: string
  readonly owner?: string | undefined
  readonly labels?: Readonly<Record<string, string>> | undefined
  readonly models?: ReadonlyArray<string> | undefined
  readonly addresses?: ReadonlyArray<string> | undefined
  /** In milliseconds since the epoch. */
  readonly expiresAt?: number | undefined
  readonly limits?: Limits.Limits | undefined
}

/**
 * A client of the database.
 *
 * @category models
 * @since 0.1.0
 */
export interface Stored extends NewClient {
  readonly createdAt: number
  readonly createdBy: string
  readonly revokedAt: number | undefined
  /** Its keys: the beginning of their hash, and when they end. */
  readonly keys: ReadonlyArray<{
    readonly id: string
    readonly createdAt: number
    readonly createdBy: string
    readonly expiresAt: number | undefined
  }>
}

/**
 * A new key, which nothing shows again.
 *
 * @category models
 * @since 0.1.0
 */
export interface Made {
  readonly client: Stored
  readonly key: Redacted.Redacted
}

/**
 * @category models
 * @since 0.1.0
 */
export interface ClientStore extends ClientKeys.More {
  readonly list: Effect.Effect<ReadonlyArray<Stored>, SqlError>
  /** One that is not revoked. */
  readonly named: (name: string) => Client | undefined
  /** A name that was revoked can be made again. */
  readonly create: (client: NewClient, by: string) => Effect.Effect<Made, SqlError | Conflict>
  /** The keys that there are work on for `overlap`. */
  readonly rotate: (
    name: string,
    overlap: Duration.Duration,
    by: string
  ) => Effect.Effect<Made, SqlError | UnknownName>
  /** Changes the limits of a client; calls in flight go on counting. */
  readonly limit: (name: string, changes: Limits.Changes, by: string) => Effect.Effect<Stored, SqlError | UnknownName>
  readonly revoke: (name: string, by: string) => Effect.Effect<Stored, SqlError | UnknownName>
}

/** How often a process looks for what others changed. */
const interval = Duration.seconds(2)

const Labels = Schema.fromJsonString(Schema.Record(Schema.String, Schema.String))
const Texts = Schema.fromJsonString(Schema.Array(Schema.String))
const readLabels = Schema.decodeUnknownSync(Labels)
const readTexts = Schema.decodeUnknownSync(Texts)
const readLimits = Schema.decodeUnknownSync(Schema.fromJsonString(Limits.Limits))

type Stamp = number | bigint | string

interface ClientRow {
  readonly name: string
  readonly owner: string
  readonly labels: string
  readonly models: string
  readonly addresses: string
  readonly limits: string
  readonly created_at: Stamp
  readonly created_by: string
  readonly expires_at: Stamp | null
  readonly revoked_at: Stamp | null
}

interface KeyRow {
  readonly hash: string
  readonly client: string
  readonly created_at: Stamp
  readonly created_by: string
  readonly expires_at: Stamp | null
}

const timeOf = (stamp: Stamp | null): number | undefined => stamp === null ? undefined : Number(stamp)

/** An empty list stands for none that is not allowed. */
const listOf = (text: string): ReadonlyArray<string> | undefined => {
  const texts = readTexts(text)
  return texts.length === 0 ? undefined : texts
}

/** None stands for those of `clientLimits`. */
const limitsOf = (text: string): Limits.Limits | undefined => {
  const limits = readLimits(text)
  return Object.keys(limits).length === 0 ? undefined : limits
}

const storedOf = (row: ClientRow, keys: ReadonlyArray<KeyRow>): Stored => ({
  name: row.name,
  owner: row.owner === "" ? undefined : row.owner,
  labels: readLabels(row.labels),
  models: listOf(row.models),
  addresses: listOf(row.addresses),
  limits: limitsOf(row.limits),
  createdAt: Number(row.created_at),
  createdBy: row.created_by,
  expiresAt: timeOf(row.expires_at),
  revokedAt: timeOf(row.revoked_at),
  keys: keys.filter(({ client }) => client === row.name).map(({ created_at, created_by, expires_at, hash }) => ({
    id: hash.slice(0, 12),
    createdAt: Number(created_at),
    createdBy: created_by,
    expiresAt: timeOf(expires_at)
  }))
})

const clientOf = (stored: Stored): Client => ({
  name: stored.name,
  labels: stored.labels ?? {},
  owner: stored.owner,
  models: stored.models,
  addresses: stored.addresses && addresses.make(stored.addresses),
  expiresAt: stored.expiresAt,
  limits: stored.limits
})

const read = Effect.fnUntraced(function*(sql: SqlClient) {
  const [revision] = yield* sql<{ revision: Stamp }>`SELECT revision FROM ballast_revisions WHERE name = 'clients'`
  const clients = yield* sql<ClientRow>`SELECT * FROM ballast_clients ORDER BY name`
  const keys = yield* sql<KeyRow>`SELECT * FROM ballast_client_keys ORDER BY created_at, hash`
  return { revision: Number(revision?.revision ?? 0), clients: clients.map((row) => storedOf(row, keys)), keys }
})

const newKey = (): string => `sk-ballast-${randomBytes(32).toString("base64url")}`

const unknownName = (name: string, known: ReadonlyArray<Stored>): UnknownName => {
  const names = known.filter(({ revokedAt }) => revokedAt === undefined).map(({ name }) => name)
  const there = names.length === 0 ? "There is none." : `There are ${names.slice(0, 50).join(", ")}.`
  return new UnknownName({
    error: { code: "unknown_name", message: `There is no client ${name} that was made while the gateway ran. ${there}` }
  })
}

/**
 * Reads the clients, and follows their changes as long as the scope lives.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  database: Database
): Effect.fn.Return<ClientStore, never, Scope.Scope> {
  const lock = Semaphore.makeUnsafe(1)
  let byHash: ReadonlyMap<string, ClientKeys.Known> = new Map()
  let all: ReadonlyArray<Stored> = []
  let revision: number | undefined

  const load = Effect.map(database.use(read), (found) => {
    const active = new Map(
      found.clients.filter(({ revokedAt }) => revokedAt === undefined).map((one) => [one.name, clientOf(one)])
    )
    byHash = new Map(found.keys.flatMap(({ client: name, expires_at, hash }) => {
      const client = active.get(name)
      return client === undefined ? [] : [[hash, { client, until: timeOf(expires_at) }] as const]
    }))
    all = found.clients
    revision = found.revision
    return found.clients
  })

  const look = Effect.gen(function*() {
    const [row] = yield* database.use((sql) =>
      sql<{ revision: Stamp }>`SELECT revision FROM ballast_revisions WHERE name = 'clients'`
    )
    if (Number(row?.revision ?? 0) !== revision) yield* load
  })

  let isDown = false
  const follow = Effect.matchEffect(lock.withPermit(look), {
    onSuccess: () => Effect.sync(() => isDown = false),
    onFailure: ({ message }) => {
      if (isDown) return Effect.void
      isDown = true
      return Effect.logWarning("clients' keys can not be read; those read last hold", { reason: message })
    }
  })

  /** Changes in a transaction that tells other processes of it. */
  const change = <A, E>(run: (sql: SqlClient, now: number) => Effect.Effect<A, E>): Effect.Effect<A, E | SqlError> =>
    Effect.flatMap(Clock.currentTimeMillis, (now) =>
      database.use((sql) =>
        sql.withTransaction(Effect.andThen(
          // First, so that changes of several processes come one after the other.
          sql`UPDATE ballast_revisions SET revision = revision + 1 WHERE name = 'clients'`,
          Effect.suspend(() => run(sql, now))
        ))
      )).pipe(Effect.tap(load), lock.withPermit)

  const named = (name: string): Stored | undefined => all.find((one) => one.name === name)

  const active = (sql: SqlClient, name: string) =>
    Effect.flatMap(
      sql`SELECT name FROM ballast_clients WHERE name = ${name} AND revoked_at IS NULL`,
      (rows): Effect.Effect<void, UnknownName> => rows.length > 0 ? Effect.void : Effect.fail(unknownName(name, all))
    )

  const addKey = (sql: SqlClient, client: string, now: number, by: string) => {
    const key = newKey()
    const row = { hash: ClientKeys.digest(key), client, created_at: now, created_by: by, expires_at: null }
    return Effect.as(sql`INSERT INTO ballast_client_keys ${sql.insert(row)}`, key)
  }

  const made = (name: string) => (key: string): Made => {
    const client = named(name)
    if (client === undefined) throw new Error(`the client ${name} is not there after it was written`)
    return { client, key: Redacted.make(key) }
  }

  const create: ClientStore["create"] = (client, by) =>
    change((sql, now) =>
      Effect.gen(function*() {
        const { name } = client
        const rows = yield* sql`SELECT name FROM ballast_clients WHERE name = ${name} AND revoked_at IS NULL`
        if (rows.length > 0) {
          return yield* new Conflict({
            error: {
              code: "conflict",
              message: `There is a client ${name} already. Give it a new key by rotating, or revoke it first.`
            }
          })
        }
        yield* sql`DELETE FROM ballast_clients WHERE name = ${name}`
        yield* sql`INSERT INTO ballast_clients ${
          sql.insert({
            name,
            owner: client.owner ?? "",
            labels: JSON.stringify(client.labels ?? {}),
            models: JSON.stringify(client.models ?? []),
            addresses: JSON.stringify(client.addresses ?? []),
            limits: JSON.stringify(client.limits ?? {}),
            created_at: now,
            created_by: by,
            expires_at: client.expiresAt ?? null,
            revoked_at: null
          })
        }`
        return yield* addKey(sql, name, now, by)
      })
    ).pipe(
      Effect.map(made(client.name)),
      Effect.tap(Effect.logInfo("client made", { client: client.name, by }))
    )

  const rotate: ClientStore["rotate"] = (name, overlap, by) =>
    change((sql, now) =>
      Effect.gen(function*() {
        yield* active(sql, name)
        const until = now + Duration.toMillis(overlap)
        yield* sql`DELETE FROM ballast_client_keys WHERE client = ${name} AND expires_at <= ${now}`
        yield* sql`UPDATE ballast_client_keys SET expires_at = ${until} WHERE client = ${name} AND (expires_at IS NULL OR expires_at > ${until})`
        return yield* addKey(sql, name, now, by)
      })
    ).pipe(
      Effect.map(made(name)),
      Effect.tap(Effect.logInfo("client key rotated", { client: name, by, overlap: Duration.format(overlap) }))
    )

  const limit: ClientStore["limit"] = (name, changes, by) =>
    change((sql) =>
      Effect.gen(function*() {
        const [row] = yield* sql<{ readonly limits: string }>`
          SELECT limits FROM ballast_clients WHERE name = ${name} AND revoked_at IS NULL`
        if (row === undefined) return yield* unknownName(name, all)
        const limits = Limits.change(limitsOf(row.limits), changes) ?? {}
        yield* sql`UPDATE ballast_clients SET limits = ${JSON.stringify(limits)} WHERE name = ${name}`
        return ""
      })
    ).pipe(
      Effect.map((key) => made(name)(key).client),
      Effect.tap(({ limits }) => Effect.logInfo("client limits changed", { client: name, by, limits }))
    )

  const revoke: ClientStore["revoke"] = (name, by) =>
    change((sql, now) =>
      Effect.gen(function*() {
        yield* active(sql, name)
        yield* sql`UPDATE ballast_clients SET revoked_at = ${now} WHERE name = ${name}`
        yield* sql`DELETE FROM ballast_client_keys WHERE client = ${name}`
        return ""
      })
    ).pipe(
      Effect.map((key) => made(name)(key).client),
      Effect.tap(Effect.logInfo("client revoked", { client: name, by }))
    )

  yield* follow
  yield* Effect.forkScoped(Effect.repeat(Effect.delay(follow, interval), Schedule.forever))

  return {
    find: (digest) => byHash.get(digest),
    state: () => revision === undefined ? "unknown" : all.length === 0 ? "none" : "some",
    named: (name) => {
      const found = named(name)
      return found === undefined || found.revokedAt !== undefined ? undefined : clientOf(found)
    },
    list: lock.withPermit(load),
    create,
    rotate,
    limit,
    revoke
  }
})
