/** The newest of many numbers, for their percentiles. */
const size = 256

export interface Recent {
  readonly add: (value: number) => void
  /** Each share of the values, from 0 to 1, is at or below its percentile; 0 without values. */
  readonly percentiles: (...shares: ReadonlyArray<number>) => ReadonlyArray<number>
}

export const make = (): Recent => {
  const values: Array<number> = []
  let next = 0
  return {
    add: (value) => {
      values[next] = value
      next = (next + 1) % size
    },
    percentiles: (...shares) => {
      const sorted = [...values].sort((a, b) => a - b)
      return shares.map((share) => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0)
    }
  }
}
