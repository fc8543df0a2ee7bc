/**
 * Latencies of the last stretch of time, in buckets whose bounds grow by 5 %,
 * so that a percentile is exact but for up to 5 % above. Five slices of the
 * time are kept; recording and reading take constant time and space.
 */
export interface Latencies {
  readonly slice: number
  readonly slices: Array<Uint32Array | undefined>
  readonly total: Uint32Array
  count: number
  /** Number of the running slice, counted from the clock's origin. */
  current: number
}

const slices = 5
/** Latencies below this many milliseconds are all alike to a timer. */
const smallest = 0.1
const growth = Math.log(1.05)
/** The last bucket holds everything above an hour. */
const buckets = Math.ceil(Math.log(3_600_000 / smallest) / growth) + 1

export const make = (millis: number): Latencies => ({
  slice: millis / slices,
  slices: Array.from({ length: slices }, () => undefined),
  total: new Uint32Array(buckets),
  count: 0,
  current: 0
})

/** Forgets what has left the window. */
export const advance = (self: Latencies, now: number): void => {
  const reached = Math.floor(now / self.slice)
  if (reached <= self.current) return
  for (let slice = Math.max(self.current + 1, reached - slices + 1); slice <= reached; slice++) {
    const left = self.slices[slice % slices]
    if (left === undefined) continue
    for (let bucket = 0; bucket < buckets; bucket++) {
      const counted = left[bucket] ?? 0
      if (counted === 0) continue
      self.count -= counted
      self.total[bucket] = (self.total[bucket] ?? 0) - counted
    }
    self.slices[slice % slices] = undefined
  }
  self.current = reached
}

const bucketOf = (millis: number): number =>
  millis <= smallest ? 0 : Math.min(buckets - 1, Math.ceil(Math.log(millis / smallest) / growth - 1e-9))

export const record = (self: Latencies, now: number, millis: number): void => {
  advance(self, now)
  const bucket = bucketOf(millis)
  const slice = self.slices[self.current % slices] ??= new Uint32Array(buckets)
  slice[bucket] = (slice[bucket] ?? 0) + 1
  self.total[bucket] = (self.total[bucket] ?? 0) + 1
  self.count++
}

/** The latency in milliseconds that a share of the recorded ones does not exceed; undefined when there are none. */
export const percentile = (self: Latencies, now: number, share: number): number | undefined => {
  advance(self, now)
  if (self.count === 0) return undefined
  let left = Math.max(1, Math.ceil(share * self.count - 1e-9))
  for (let bucket = 0; bucket < buckets; bucket++) {
    left -= self.total[bucket] ?? 0
    if (left <= 0) return smallest * Math.exp(bucket * growth)
  }
  return undefined
}
