/**
 * The sum of what was added within a stretch of time, in tenths of it.
 *
 * It always holds the running tenth and some before it: nine, so that it covers
 * between 90 % and 100 % of its length, or ten, so that it covers all of it and
 * up to 110 %. Each operation takes constant time and space. What was added may
 * be taken back from the slice that it was added to.
 */
export interface RollingSum {
  readonly slice: number
  readonly sums: Array<number>
  /** Number of the running slice, counted from the clock's origin. */
  current: number
  total: number
}

const make = (slice: number, slices: number): RollingSum => ({
  slice,
  sums: Array.from({ length: slices }, () => 0),
  current: 0,
  total: 0
})

/** What was added counts for at most so long. */
export const atMost = (millis: number): RollingSum => make(millis / 10, 10)

/** What was added counts for at least so long. */
export const atLeast = (millis: number): RollingSum => make(millis / 10, 11)

/** Forgets what has left the window, and gives what is in it. */
export const total = (self: RollingSum, now: number): number => {
  const slices = self.sums.length
  const reached = Math.floor(now / self.slice)
  if (reached <= self.current) return self.total
  if (reached >= self.current + slices) {
    self.sums.fill(0)
    // Set and not subtracted: fractions leave no remainder behind.
    self.total = 0
  } else {
    for (let slice = self.current + 1; slice <= reached; slice++) {
      self.total -= self.sums[slice % slices] ?? 0
      self.sums[slice % slices] = 0
    }
  }
  self.current = reached
  return self.total
}

export const add = (self: RollingSum, now: number, amount: number): void => {
  total(self, now)
  const index = self.current % self.sums.length
  self.total += amount
  self.sums[index] = (self.sums[index] ?? 0) + amount
}

/** Takes back what was added at an earlier time; nothing, when that has left the window. */
export const takeBack = (self: RollingSum, at: number, amount: number): void => {
  const slices = self.sums.length
  const slice = Math.floor(at / self.slice)
  if (slice <= self.current - slices) return
  const index = slice % slices
  self.total -= amount
  self.sums[index] = (self.sums[index] ?? 0) - amount
}
