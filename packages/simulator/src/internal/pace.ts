import * as Duration from "effect/Duration"
import type { Fault } from "../Fault.ts"
import type { Draw } from "./draw.ts"
import type { Settings } from "./settings.ts"

/** How an answer is spread over time, in milliseconds. */
export interface Pace {
  /** From the headers to the first token. */
  readonly first: number
  /** From one token to the next. */
  readonly gap: () => number
  /** Interval of signs of life while nothing else is sent. */
  readonly keepAlive: number
}

const vary = (value: number, { jitter }: Settings, draw: Draw): number => value * (1 + jitter * (2 * draw.next() - 1))

/** A fault's times are exact, the simulator's own vary. */
const timeOf = (own: Duration.Input | undefined, usual: number, settings: Settings, draw: Draw): number =>
  own === undefined ? vary(usual, settings, draw) : Duration.toMillis(own)

export const latencyOf = (settings: Settings, fault: Fault, draw: Draw): number =>
  timeOf(fault.latency, settings.latency, settings, draw)

export const paceOf = (settings: Settings, fault: Fault, draw: Draw): Pace => {
  const gap = 1_000 / (fault.tokensPerSecond ?? settings.tokensPerSecond)
  return {
    first: timeOf(fault.timeToFirstToken, settings.timeToFirstToken, settings, draw),
    gap: () => gap === 0 ? 0 : vary(gap, settings, draw),
    keepAlive: settings.keepAlive
  }
}

/** How long all tokens together take. */
export const totalTime = ({ first, gap }: Pace, tokens: number): number => first + Math.max(0, tokens - 1) * gap()
