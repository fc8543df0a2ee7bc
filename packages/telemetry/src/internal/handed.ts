/**
 * What was handed to Effect's exporters and has not come back in a batch. They drop silently what they have, and what they get, while sending
 * pauses after a failure: so what is missing in the next batch was lost, and is counted then.
 */
import type * as Context from "effect/Context"
import { dropped, type Signal } from "./collector.ts"

export interface Handed {
  readonly add: (signal: Signal) => void
  /** Takes note of a batch, which has all that was not lost. */
  readonly taken: (signal: Signal, items: number) => void
}

export const make = (context: Context.Context<never>): Handed => {
  const waiting: Record<Signal, number> = { traces: 0, metrics: 0, logs: 0 }
  return {
    add: (signal) => void waiting[signal]++,
    taken: (signal, items) => {
      const lost = waiting[signal] - items
      waiting[signal] = 0
      if (lost > 0) dropped(signal).updateUnsafe(lost, context)
    }
  }
}
