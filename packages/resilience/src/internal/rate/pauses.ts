/** Pauses of keys that one process knows of, in milliseconds of any clock that doesn't go back. */
export interface Pauses {
  /** Lets the key pause for so long; a longer pause wins. */
  readonly add: (key: string, now: number, millis: number) => void
  /** How long the key still pauses. */
  readonly left: (key: string, now: number) => number
  readonly size: () => number
}

/** Pauses that are over are looked for when there are so many, and at least twice as many as were left last time. */
const minimumSweep = 1_024

export const make = (): Pauses => {
  const pausedUntil = new Map<string, number>()
  let sweepAt = minimumSweep

  const sweep = (now: number): void => {
    if (pausedUntil.size < sweepAt) return
    for (const [key, until] of pausedUntil) if (until <= now) pausedUntil.delete(key)
    sweepAt = Math.max(minimumSweep, pausedUntil.size * 2)
  }

  return {
    add: (key, now, millis) => {
      sweep(now)
      pausedUntil.set(key, Math.max(pausedUntil.get(key) ?? 0, now + millis))
    },
    left: (key, now) => {
      const left = (pausedUntil.get(key) ?? now) - now
      if (left > 0) return left
      pausedUntil.delete(key)
      return 0
    },
    size: () => pausedUntil.size
  }
}
