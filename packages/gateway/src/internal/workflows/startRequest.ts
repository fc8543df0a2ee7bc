/** How a client starts a run, and wants to be answered: what its headers say. */
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as Result from "effect/Result"
import type { Rejection } from "../../Rejection.ts"
import { wrong } from "./wrong.ts"

const keyPattern = /^[\x21-\x7e]{1,255}$/

export const keyOf = ({ headers }: HttpServerRequest): Result.Result<string | undefined, Rejection> => {
  const key = headers["idempotency-key"]
  return key === undefined || keyPattern.test(key)
    ? Result.succeed(key)
    : Result.fail(
      wrong("idempotency-key", "The header `idempotency-key` must have 1 to 255 characters of ASCII, without spaces.")
    )
}

/** How the client wants to be answered (RFC 7240): how long it waits, in milliseconds. */
export const waitOf = ({ headers }: HttpServerRequest, most: number): number => {
  const preferences = (headers["prefer"] ?? "").split(",").map((one) => one.trim().toLowerCase())
  const [, seconds] = preferences.map((one) => /^wait="?(\d{1,9})"?$/.exec(one)).find((match) => match !== null) ?? []
  const wait = seconds === undefined ? undefined : Number(seconds) * 1_000
  if (preferences.includes("respond-async")) return Math.min(wait ?? 0, most)
  return Math.min(wait ?? most, most)
}

export const wantsEvents = ({ headers }: HttpServerRequest): boolean =>
  /\btext\/event-stream\b/.test(headers["accept"] ?? "")
