/** A vector of length 1, in the direction of what is given; undefined where it has none. */
export const normal = (numbers: ReadonlyArray<number>): Float32Array | undefined => {
  let sum = 0
  for (const number of numbers) sum += number * number
  const length = Math.sqrt(sum)
  return length > 0 && Number.isFinite(length) ? Float32Array.from(numbers, (number) => number / length) : undefined
}

/** The cosine of two vectors of length 1, at most 1. Vectors of different spaces are not alike. */
export const cosine = (a: Float32Array, b: Float32Array): number => {
  if (a.length !== b.length) return -1
  let sum = 0
  for (let at = 0; at < a.length; at++) sum += (a[at] ?? 0) * (b[at] ?? 0)
  return Math.min(1, sum)
}
