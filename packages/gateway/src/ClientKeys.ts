/**
 * Which clients may call: those that send one of their keys as `Authorization: Bearer <key>`, from an address that is theirs, before the key ends.
 *
 * A client may have several keys, so that one can be replaced without a gap. Keys are found by their SHA-256 digest, one look into a map however many there are: what the timing of
 * that look tells of a digest helps no one to a key. A client's key goes no further than here.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { hash } from "node:crypto"
import * as Client from "./Client.ts"
import * as addresses from "./internal/addresses.ts"
import type { Limits } from "./Limits.ts"
import { Rejection } from "./Rejection.ts"

/**
 * Finds the client by the value of an `Authorization` header, or refuses it. `address` says where the request comes from; it is asked only for a client that may not call from anywhere.
 *
 * @category models
 * @since 0.1.0
 */
export type ClientKeys = (
  authorization: string | undefined,
  address?: () => string | undefined
) => Effect.Effect<Client.Client, Rejection>

/**
 * What stands for a key where it must not be known: its SHA-256 digest in hexadecimal. Keys have 256 random bits, so that no salt and no slow hash is needed.
 *
 * @category accessors
 * @since 0.1.0
 */
export const digest = (key: string): string => hash("sha256", key, "hex")

const bearer = /^bearer +(\S+) *$/i

const missing = new Rejection({
  case: "WrongClientKey",
  detail: "A key is needed. Send one of the gateway's client keys: Authorization: Bearer <key>."
})

const wrong = new Rejection({
  case: "WrongClientKey",
  detail: "This key is not one of the gateway's client keys."
})

const unavailable = new Rejection({
  case: "ClientKeysUnavailable",
  detail: "The gateway can not read its clients' keys now, since their database is down. Try again later."
})

const named = /^([\w.-]{1,64}):(.+)$/

/**
 * Whether a text can be the name of a client.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isName = (text: string): boolean => /^[\w.-]{1,64}$/.test(text)

/**
 * Reads keys written `name:key`, or bare ones, whose client is named by its place: `client-1`.
 *
 * @category parsers
 * @since 0.1.0
 */
export const byName = (
  texts: ReadonlyArray<string>,
  anonymous = "client"
): ReadonlyMap<string, ReadonlyArray<string>> => {
  const found = new Map<string, ReadonlyArray<string>>()
  for (const [index, text] of texts.entries()) {
    const [, name = `${anonymous}-${index + 1}`, key = text] = named.exec(text) ?? []
    found.set(name, [...found.get(name) ?? [], key])
  }
  return found
}

/**
 * Clients by name.
 *
 * @category models
 * @since 0.1.0
 */
export type Clients = Readonly<
  Record<string, {
    readonly keys: ReadonlyArray<Redacted.Redacted>
    readonly labels: Readonly<Record<string, string>>
    readonly owner?: string | undefined
    readonly models?: ReadonlyArray<string> | undefined
    /** Addresses and networks that it may call from. Default: anywhere. */
    readonly addresses?: ReadonlyArray<string> | undefined
    /** The day, or the moment, from which it may no longer call, as in ISO 8601. Default: never. */
    readonly expires?: string | undefined
    readonly limits?: Limits | undefined
  }>
>

/**
 * A key that is known: whose it is, and until when it works.
 *
 * @category models
 * @since 0.1.0
 */
export interface Known {
  readonly client: Client.Client
  /** In milliseconds since the epoch. Default: as long as the client may call. */
  readonly until?: number | undefined
}

/**
 * Keys that are made while the gateway runs.
 *
 * @category models
 * @since 0.1.0
 */
export interface More {
  /** By the digest of a key. */
  readonly find: (digest: string) => Known | undefined
  /** `some`: there are, or have been, clients, so that a key is needed. `unknown`: their database has not been read yet. */
  readonly state: () => "none" | "some" | "unknown"
}

/**
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly more?: More | undefined
  /** Whether a key is needed even while there are no clients. Default `false`. */
  readonly required?: boolean | undefined
}

/** Whether the calendar has a day: `Date` takes 30 February for 2 March. */
const isDay = (text: string): boolean => {
  const millis = Date.parse(`${text}T00:00:00Z`)
  return !Number.isNaN(millis) && DateTime.formatIsoDateUtc(DateTime.makeUnsafe(millis)) === text
}

/**
 * A moment as in ISO 8601; a day is its beginning in UTC. Undefined for another text, and for a day that the calendar does not have.
 *
 * @category parsers
 * @since 0.1.0
 */
export const parseTime = (text: string): number | undefined =>
  /^\d{4}-\d{2}-\d{2}(?:$|T)/.test(text) && isDay(text.slice(0, 10))
    ? Option.getOrUndefined(Option.map(DateTime.make(text), DateTime.toEpochMillis))
    : undefined

/**
 * A client of the settings by its name.
 *
 * @category accessors
 * @since 0.1.0
 */
export const clientOf = (
  name: string,
  { addresses: networks, expires, labels, limits, models, owner }: Clients[string]
): Client.Client => ({
  name,
  labels,
  owner,
  models,
  addresses: networks && addresses.make(networks),
  expiresAt: expires === undefined ? undefined : parseTime(expires),
  limits
})

const expired = ({ name }: Client.Client) =>
  new Rejection({
    case: "ClientKeyExpired",
    detail: `The key of the client ${name} has expired. Ask the gateway's operator for a new one.`
  })

const elsewhere = ({ name }: Client.Client, address: string | undefined) =>
  new Rejection({
    case: "AddressNotAllowed",
    detail: `The client ${name} may not call from ${address ?? "this address"}.`
  })

const check = ({ client, until = Infinity }: Known, address: () => string | undefined) => {
  const end = Math.min(until, client.expiresAt ?? Infinity)
  const here = (): Effect.Effect<Client.Client, Rejection> => {
    if (client.addresses === undefined) return Effect.succeed(client)
    const from = address()
    return from !== undefined && client.addresses.includes(from)
      ? Effect.succeed(client)
      : Effect.fail(elsewhere(client, from))
  }
  return end === Infinity
    ? here()
    : Effect.flatMap(Clock.currentTimeMillis, (now) => now < end ? here() : Effect.fail(expired(client)))
}

/**
 * Lets everyone pass as `Client.anonymous` when there are no clients and none are required, else only those who send a key of one.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (given: Clients, { more, required = false }: Options = {}): ClientKeys => {
  const keys = new Map(
    Object.entries(given).flatMap((entry) => {
      const one: Known = { client: clientOf(...entry) }
      return entry[1].keys.map((key) => [digest(Redacted.value(key).trim()), one] as const)
    })
  )
  const isOpen = () => !required && keys.size === 0 && (more === undefined || more.state() === "none")
  const everyone = Effect.succeed(Client.anonymous)
  return (authorization, address = () => undefined) => {
    if (isOpen()) return everyone
    const key = authorization === undefined ? undefined : bearer.exec(authorization)?.[1]
    if (key === undefined) return Effect.fail(missing)
    const hashed = digest(key)
    const found = keys.get(hashed) ?? more?.find(hashed)
    if (found !== undefined) return check(found, address)
    return Effect.fail(more?.state() === "unknown" ? unavailable : wrong)
  }
}
