/**
 * Which clients may call: those that send one of the configured keys as `Authorization: Bearer <key>`.
 *
 * A configured key is `name:key` or a bare key, whose client is named by its place: `client-1`. Several keys may have one name, so that a key
 * can be replaced without a gap. Keys are compared by their SHA-256 digests, against all of them and in constant time, so that neither the
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

const known = (configured: Redacted.Redacted, index: number) => {
  const text = Redacted.value(configured)
  const [, name = `client-${index + 1}`, key = text] = named.exec(text) ?? []
  const client: Client.Client = { name, labels: {} }
  return { digest: digest(key), found: Effect.succeed(client) }
}

/**
 * Lets everyone pass as `Client.anonymous` when `keys` is empty, else only those who send one of them.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (keys: ReadonlyArray<Redacted.Redacted>): ClientKeys => {
  if (keys.length === 0) {
    const everyone = Effect.succeed(Client.anonymous)
    return () => everyone
  }
  const clients = keys.map(known)
  return (authorization) => {
    const key = authorization === undefined ? undefined : bearer.exec(authorization)?.[1]
    if (key === undefined) return Effect.fail(missing)
    const actual = digest(key)
    let found: Effect.Effect<Client.Client, Rejection> = Effect.fail(wrong)
    for (const client of clients) if (timingSafeEqual(actual, client.digest)) found = client.found
    return found
  }
}
