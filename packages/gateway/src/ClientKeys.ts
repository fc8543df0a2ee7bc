/**
 * Which clients may call: those that send one of the configured keys as `Authorization: Bearer <key>`.
 *
 * A client may have several keys, so that one can be replaced without a gap. Keys are compared by their SHA-256 digests, against all of them and in constant time, so that neither the
 * length nor a matching beginning of a key shows in the answer's timing. A client's key goes no further than here.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { hash, timingSafeEqual } from "node:crypto"
import * as Client from "./Client.ts"
import { Rejection } from "./Rejection.ts"

/**
 * Finds the client by the value of an `Authorization` header, or refuses it.
 *
 * @category models
 * @since 0.1.0
 */
export type ClientKeys = (authorization: string | undefined) => Effect.Effect<Client.Client, Rejection>

const digest = (text: string): Buffer => hash("sha256", text, "buffer")

const bearer = /^bearer +(\S+) *$/i

const missing = new Rejection({
  case: "WrongClientKey",
  detail: "A key is needed. Send one of the gateway's client keys: Authorization: Bearer <key>."
})

const wrong = new Rejection({
  case: "WrongClientKey",
  detail: "This key is not one of the gateway's client keys."
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
  }>
>

const known = ([name, { keys, labels }]: [string, Clients[string]]) => {
  const client: Client.Client = { name, labels }
  const found = Effect.succeed(client)
  return keys.map((key) => ({ digest: digest(Redacted.value(key).trim()), found }))
}

/**
 * Lets everyone pass as `Client.anonymous` when there are no clients, else only those who send a key of one.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (given: Clients): ClientKeys => {
  const clients = Object.entries(given).flatMap(known)
  if (clients.length === 0) {
    const everyone = Effect.succeed(Client.anonymous)
    return () => everyone
  }
  return (authorization) => {
    const key = authorization === undefined ? undefined : bearer.exec(authorization)?.[1]
    if (key === undefined) return Effect.fail(missing)
    const actual = digest(key)
    let found: Effect.Effect<Client.Client, Rejection> = Effect.fail(wrong)
    for (const client of clients) if (timingSafeEqual(actual, client.digest)) found = client.found
    return found
  }
}
