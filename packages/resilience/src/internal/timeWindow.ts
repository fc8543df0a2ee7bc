/**
 * Counts of the calls that ended within a stretch of time, in ten slices.
 *
 * The window always holds the running slice and the nine before it, so it
 * covers between 90 % and 100 % of its length. Adding and reading take constant
 * time and constant space, whatever the traffic.
 */
export interface TimeWindow {
  readonly slice: number
  readonly callsOf: Array<number>
  readonly failuresOf: Array<number>
  readonly slowOf: Array<number>
  /** Number of the running slice, counted from the clock's origin. */
  current: number
  calls: number
  failures: number
  slow: number
}

const slices = 10

const zeros = () => Array.from({ length: slices }, () => 0)

export const make = (millis: number): TimeWindow => ({
  slice: millis / slices,
  callsOf: zeros(),
  failuresOf: zeros(),
  slowOf: zeros(),
  current: 0,
  calls: 0,
  failures: 0,
  slow: 0
})

/** Forgets what has left the window. */
export const advance = (self: TimeWindow, now: number): void => {
  const reached = Math.floor(now / self.slice)
  if (reached <= self.current) return
  for (let slice = Math.max(self.current + 1, reached - slices + 1); slice <= reached; slice++) {
    const index = slice % slices
    self.calls -= self.callsOf[index] ?? 0
    self.failures -= self.failuresOf[index] ?? 0
    self.slow -= self.slowOf[index] ?? 0
    self.callsOf[index] = 0
    self.failuresOf[index] = 0
    self.slowOf[index] = 0
  }
  self.current = reached
}

export const record = (self: TimeWindow, now: number, failed: boolean, slow: boolean): void => {
  advance(self, now)
  const index = self.current % slices
  self.calls++
  self.callsOf[index] = (self.callsOf[index] ?? 0) + 1
  if (failed) {
    self.failures++
    self.failuresOf[index] = (self.failuresOf[index] ?? 0) + 1
  }
  if (slow) {
    self.slow++
    self.slowOf[index] = (self.slowOf[index] ?? 0) + 1
  }
}

/** Slices of before the clock's origin have negative numbers. */
const indexOf = (slice: number) => ((slice % slices) + slices) % slices

/** Counts of one slice, and how long ago its middle was. */
export interface Slice {
  readonly age: number
  readonly calls: number
  readonly failures: number
  readonly slow: number
}

/** What is in the window, the oldest slice first. */
export const save = (self: TimeWindow, now: number): ReadonlyArray<Slice> => {
  advance(self, now)
  const saved = Array<Slice>()
  for (let slice = self.current - slices + 1; slice <= self.current; slice++) {
    const index = indexOf(slice)
    const calls = self.callsOf[index] ?? 0
    if (calls === 0) continue
    saved.push({
      // The middle: a rounded edge may lie in the slice beside it.
      age: now - (slice + 0.5) * self.slice,
      calls,
      failures: self.failuresOf[index] ?? 0,
      slow: self.slowOf[index] ?? 0
    })
  }
  return saved
}

/** Adds saved slices to an empty window; those that are too old are left out. */
export const restore = (self: TimeWindow, saved: ReadonlyArray<Slice>, now: number): void => {
  advance(self, now)
  for (const { age, calls, failures, slow } of saved) {
    // The middle of the running slice may still be to come.
    const slice = Math.min(self.current, Math.floor((now - age) / self.slice))
    if (slice <= self.current - slices) continue
    const index = indexOf(slice)
    self.calls += calls
    self.failures += failures
    self.slow += slow
    self.callsOf[index] = (self.callsOf[index] ?? 0) + calls
    self.failuresOf[index] = (self.failuresOf[index] ?? 0) + failures
    self.slowOf[index] = (self.slowOf[index] ?? 0) + slow
  }
}
