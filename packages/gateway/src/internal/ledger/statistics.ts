/** Means and shares with their 95 % confidence intervals, and those of differences. */

export interface Interval {
  readonly low: number
  readonly high: number
}

/** What is known of a sample: how many, their sum, and the sum of their squares. */
export interface Moments {
  readonly n: number
  readonly sum: number
  readonly squares: number
}

const z = 1.959964

/**
 * The 97.5 % quantile of Student's t, by the expansion of Cornish and Fisher (Abramowitz and Stegun 26.7.5); right to 1 % from 3 degrees of freedom on.
 */
export const tQuantile = (degrees: number): number => {
  if (!Number.isFinite(degrees)) return z
  const g1 = (z ** 3 + z) / 4
  const g2 = (5 * z ** 5 + 16 * z ** 3 + 3 * z) / 96
  const g3 = (3 * z ** 7 + 19 * z ** 5 + 17 * z ** 3 - 15 * z) / 384
  return z + g1 / degrees + g2 / degrees ** 2 + g3 / degrees ** 3
}

export const meanOf = ({ n, sum }: Moments): number => sum / n

/** The variance of the mean; rounding can't make it negative. */
const varianceOfMean = ({ n, squares, sum }: Moments): number =>
  n < 2 ? Infinity : Math.max(0, (squares - (sum * sum) / n) / (n - 1)) / n

export const intervalOfMean = (moments: Moments): Interval => {
  const half = tQuantile(moments.n - 1) * Math.sqrt(varianceOfMean(moments))
  return { low: meanOf(moments) - half, high: meanOf(moments) + half }
}

/** Of the second mean less the first, for samples of different variances (Welch). */
export const intervalOfDifference = (a: Moments, b: Moments): Interval => {
  const [va, vb] = [varianceOfMean(a), varianceOfMean(b)]
  const difference = meanOf(b) - meanOf(a)
  if (va + vb === 0) return { low: difference, high: difference }
  const degrees = (va + vb) ** 2 / (va ** 2 / (a.n - 1) + vb ** 2 / (b.n - 1))
  const half = tQuantile(degrees) * Math.sqrt(va + vb)
  return { low: difference - half, high: difference + half }
}

/** Of a share (Wilson): right for few calls and for shares near 0 and 1 too. */
export const intervalOfShare = (hits: number, n: number): Interval => {
  const share = hits / n
  const middle = share + z ** 2 / (2 * n)
  const half = z * Math.sqrt((share * (1 - share)) / n + z ** 2 / (4 * n ** 2))
  const width = 1 + z ** 2 / n
  return { low: Math.max(0, (middle - half) / width), high: Math.min(1, (middle + half) / width) }
}

interface Share {
  readonly hits: number
  readonly n: number
}

/** Of the second share less the first (Newcombe's method 10). */
export const intervalOfShares = (a: Share, b: Share): Interval => {
  const [pa, pb] = [a.hits / a.n, b.hits / b.n]
  const [ia, ib] = [intervalOfShare(a.hits, a.n), intervalOfShare(b.hits, b.n)]
  const difference = pb - pa
  return {
    low: difference - Math.sqrt((pb - ib.low) ** 2 + (ia.high - pa) ** 2),
    high: difference + Math.sqrt((ib.high - pb) ** 2 + (pa - ia.low) ** 2)
  }
}
