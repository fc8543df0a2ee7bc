/**
 * Sums up calls to samples, one a round. Only calls that start in a round are
 * measured in it, so a sample shows what the limit does that holds now. A drop
 * ends a round; further drops of calls that started before it tell nothing new,
 * as one overload drops many calls.
 */
import type { Sample } from "./algorithm.ts"

export interface Rounds {
  /** The round that is on. */
  number: number
  /** The round after the last drop. */
  since: number
  count: number
  sum: number
  /** The most slots taken when a call of this round started. */
  most: number
}

export const make = (): Rounds => ({ number: 0, since: 0, count: 0, sum: 0, most: 0 })

/** Notes the start of a call, with the slots that are taken then. Returns its round. */
export const started = (rounds: Rounds, inFlight: number): number => {
  if (inFlight > rounds.most) rounds.most = inFlight
  return rounds.number
}

/** Calls that make a round: half of what may run at once, so that a round lasts for about a round trip. */
const enough = (limit: number) => Math.max(1, Math.min(50, Math.floor(limit / 2)))

/** Notes a success. Returns the sample when that ends the round. */
export const succeeded = (
  rounds: Rounds,
  round: number,
  call: { readonly startedAt: number; readonly at: number; readonly limit: number }
): Sample | undefined => {
  if (round !== rounds.number) return undefined
  rounds.count++
  rounds.sum += call.at - call.startedAt
  return rounds.count < enough(call.limit) ? undefined : next(rounds, {
    at: call.at,
    inFlight: rounds.most,
    dropped: false,
    stated: undefined
  })
}

/** Notes a drop. Returns the sample, if it tells anything new. */
export const dropped = (
  rounds: Rounds,
  round: number,
  call: { readonly at: number; readonly limit: number; readonly inFlight: number; readonly stated: number | undefined }
): Sample | undefined => {
  const { at, inFlight, limit, stated } = call
  if (round < rounds.since && (stated === undefined || stated >= limit)) return undefined
  const sample = next(rounds, { at, inFlight: Math.max(rounds.most, inFlight), dropped: true, stated })
  rounds.since = rounds.number
  return sample
}

/** Begins the next round. */
const next = (rounds: Rounds, sample: Omit<Sample, "rtt">): Sample => {
  const rtt = rounds.count === 0 ? undefined : rounds.sum / rounds.count
  rounds.number++
  rounds.count = 0
  rounds.sum = 0
  rounds.most = 0
  return { ...sample, rtt }
}
