/**
 * Which clients may call: those that send one of the configured keys as `Authorization: Bearer <key>`.
 *
 * Keys are compared by their SHA-256 digests, against all of them and in constant time, so that neither the length nor a matching
 * beginning of a key shows in the answer's timing. A client's key goes no further than here.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { hash, timingSafeEqual } from "node:crypto"
import { Rejection } from "./Rejection.ts"

/**
 * Passes or refuses the value of an `Authorization` header.
 *
 * @category models
 * @since 0.1.0
 */
export type ClientKeys = (authorization: string | undefined) => Effect.Effect<void, Rejection>

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

/**
 * Lets everyone pass when `keys` is empty, else only those who send one of them.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (keys: ReadonlyArray<Redacted.Redacted>): ClientKeys => {
  if (keys.length === 0) return () => Effect.void
  const digests = keys.map((key) => digest(Redacted.value(key)))
  return (authorization) => {
    const key = authorization === undefined ? undefined : bearer.exec(authorization)?.[1]
    if (key === undefined) return Effect.fail(missing)
    const actual = digest(key)
    let known = false
    for (const expected of digests) known = timingSafeEqual(actual, expected) || known
    return known ? Effect.void : Effect.fail(wrong)
  }
}
