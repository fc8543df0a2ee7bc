/**
 * The sum of what was added within a stretch of time, in ten slices.
 *
 * It always holds the running slice and the nine before it, so it covers
 * between 90 % and 100 % of its length. Each operation takes constant time and
 * space. What was added may be taken back from the slice that it was added to.
 */
export interface RollingSum {
  readonly slice: number
  readonly sums: Array<number>
  /** Number of the running slice, counted from the clock's origin. */
  current: number
  total: number
}

const slices = 10

export const make = (millis: number): RollingSum => ({
  slice: millis / slices,
  sums: Array.from({ length: slices }, () => 0),
  current: 0,
  total: 0
})

/** Forgets what has left the window, and gives what is in it. */
export const total = (self: RollingSum, now: number): number => {
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
  const index = self.current % slices
  self.total += amount
  self.sums[index] = (self.sums[index] ?? 0) + amount
}

/** Takes back what was added at an earlier time; nothing, when that has left the window. */
export const takeBack = (self: RollingSum, at: number, amount: number): void => {
  const slice = Math.floor(at / self.slice)
  if (slice <= self.current - slices) return
  const index = slice % slices
  self.total -= amount
  self.sums[index] = (self.sums[index] ?? 0) - amount
}
