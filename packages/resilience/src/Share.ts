/**
 * Which part of a limit is this process's, where several processes keep it together without asking each other.
 *
 * Each of them holds a fixed part, and the parts add up to the limit. So the limit is never exceeded, but a process can't use what another
 * leaves. A limit below the number of processes can't be divided: each then has 1, and together they exceed it.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"

/**
 * @category models
 * @since 0.1.0
 */
export interface Share {
  /** Which of them this process is, from 0. */
  readonly index: number
  /** How many processes there are, at least 1. */
  readonly of: number
}

/**
 * The share of this process. Default: it is alone, and has the whole limit.
 *
 * @category references
 * @since 0.1.0
 */
export const Current: Context.Reference<Share> = Context.Reference("@ballast/resilience/Share/Current", {
  defaultValue: (): Share => ({ index: 0, of: 1 })
})

/**
 * The part of a limit, a whole number of at least 1: an equal one, and one more for the first processes where it is not divisible.
 *
 * @category accessors
 * @since 0.1.0
 */
export const part = (limit: number, { index, of }: Share): number =>
  of === 1 ? limit : Math.max(1, Math.floor(limit / of) + (index < limit % of ? 1 : 0))
