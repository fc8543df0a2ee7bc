/**
 * How long a client is going to wait, from the headers that clients send.
 *
 * | header | value | sent by | bounds |
 * |---|---|---|---|
 * | `x-request-timeout` | seconds, or a number with a unit: `500ms`, `30s`, `2m`, `1h` | proxies, own clients | the whole call |
 * | `grpc-timeout` | up to 8 digits and `H`, `M`, `S`, `m`, `u` or `n` | gRPC's bridges | the whole call |
 * | `x-stainless-timeout` | seconds | the OpenAI and Anthropic SDKs for Node | the time until the answer begins |
 * | `x-stainless-read-timeout` | seconds | the same for Python | the time until the answer begins |
 *
 * The nearest counts, less a little, so that the answer, `504`, arrives before the client gives up. Retries and waits inside the call look
 * at it and don't outlast it. A value that can't be read, or is zero, is no deadline. A stream that says nothing begins by a ping after 15 seconds, so
 * a deadline for its beginning counts only when it is nearer than that.
 *
 * @since 0.1.0
 */
import * as Deadline from "@ballast/resilience/Deadline"
import * as Duration from "effect/Duration"
import { Rejection } from "./Rejection.ts"

/**
 * Milliseconds that the client waits, for its answer's beginning and for all of it; `Infinity` where it doesn't say.
 *
 * @category models
 * @since 0.1.0
 */
export interface ClientDeadline {
  readonly beginning: number
  readonly whole: number
}

const seconds = (text: string | undefined): number =>
  text !== undefined && text.length <= 16 && /^\d+(?:\.\d+)?$/.test(text) ? Number(text) * 1000 : Infinity

const units: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }
const grpcUnits: Readonly<Record<string, number>> = { n: 1e-6, u: 1e-3, m: 1, S: 1000, M: 60_000, H: 3_600_000 }

const withUnit = (text: string | undefined): number => {
  if (text === undefined || text.length > 16) return Infinity
  const [, value, unit = "s"] = /^(\d+(?:\.\d+)?)(ms|s|m|h)?$/.exec(text) ?? []
  return Number(value ?? Infinity) * (units[unit] ?? 1)
}

const grpc = (text: string | undefined): number => {
  if (text === undefined || text.length > 9) return Infinity
  const [, value, unit = "S"] = /^(\d{1,8})([HMSmun])$/.exec(text) ?? []
  return Number(value ?? Infinity) * (grpcUnits[unit] ?? 1)
}

const usable = (millis: number): number => millis > 0 ? millis : Infinity

/**
 * The deadline that the headers of a request state.
 *
 * @category parsing
 * @since 0.1.0
 */
export const read = (headers: Readonly<Record<string, string | undefined>>): ClientDeadline => {
  const whole = Math.min(usable(withUnit(headers["x-request-timeout"])), usable(grpc(headers["grpc-timeout"])))
  const beginning = Math.min(
    whole,
    usable(seconds(headers["x-stainless-timeout"])),
    usable(seconds(headers["x-stainless-read-timeout"]))
  )
  return { beginning, whole }
}

/** What the way back takes: a tenth of the time, a quarter of a second at most. */
const early = (millis: number): number => millis - Math.min(millis / 10, 250)

const passed = ({ limit }: Deadline.DeadlineExceeded): Rejection =>
  new Rejection({
    case: "ClientDeadline",
    detail: `The answer was not there within ${Duration.format(limit)}, which is how long the client waits.`
  })

/** Clients have few different deadlines. */
const kept = 64

type Policy = Deadline.Deadline<Rejection>

const cached = (make: (millis: number) => Policy) => {
  const policies = new Map<number, Policy>()
  return (millis: number): Policy => {
    let policy = policies.get(millis)
    if (policy === undefined) {
      policy = make(Math.max(1, early(millis)))
      if (policies.size >= kept) policies.clear()
      policies.set(millis, policy)
    }
    return policy
  }
}

/**
 * The policy that ends a call `millis` milliseconds after its start, in the client's name.
 *
 * @category policies
 * @since 0.1.0
 */
export const whole: (millis: number) => Deadline.Deadline<Rejection> = cached((millis) =>
  Deadline.total(Duration.millis(millis), { name: "client", error: passed })
)

/**
 * The policy that ends a stream without a first item `millis` milliseconds after its start, in the client's name.
 *
 * @category policies
 * @since 0.1.0
 */
export const beginning: (millis: number) => Deadline.Deadline<Rejection> = cached((millis) =>
  Deadline.firstItem(Duration.millis(millis), { name: "client", error: passed })
)
