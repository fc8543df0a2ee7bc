/** Repeatable chance: a generator that depends on nothing but the keys it is made from. */
export interface Draw {
  /** A number in [0, 1). */
  readonly next: () => number
  /** An integer from `min` to `max`, both included. */
  readonly int: (min: number, max: number) => number
  readonly chance: (probability: number) => boolean
  readonly pick: <A>(items: readonly [A, ...ReadonlyArray<A>]) => A
  readonly shuffle: <A>(items: ReadonlyArray<A>) => Array<A>
  /** `length` characters of `alphabet`. */
  readonly text: (length: number, alphabet: string) => string
}

const hex = "0123456789abcdef"
const alphanumeric = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

export const make = (...keys: ReadonlyArray<string | number>): Draw => {
  const next = sfc32(hash128(keys.join("\u0000")))
  const int = (min: number, max: number) => min + Math.floor(next() * (max - min + 1))
  return {
    next,
    int,
    chance: (probability) => next() < probability,
    pick: (items) => items[int(0, items.length - 1)] ?? items[0],
    shuffle: (items) =>
      items.map((item) => ({ item, rank: next() })).sort((a, b) => a.rank - b.rank).map(({ item }) => item),
    text: (length, alphabet) => Array.from({ length }, () => alphabet.charAt(int(0, alphabet.length - 1))).join("")
  }
}

/** 32 hexadecimal digits, as in `x-ds-trace-id` and `system_fingerprint`. */
export const hex32 = (draw: Draw): string => draw.text(32, hex)

/** The id of a tool call: `call_00_` and 20 letters or digits. */
export const toolCallId = (draw: Draw, index: number): string =>
  `call_${String(index).padStart(2, "0")}_${draw.text(20, alphanumeric)}`

export const uuid = (draw: Draw): string => {
  const digits = draw.text(30, hex)
  const variant = "89ab".charAt(draw.int(0, 3))
  return `${digits.slice(0, 8)}-${digits.slice(8, 12)}-4${digits.slice(12, 15)}-${variant}${digits.slice(15, 18)}-${
    digits.slice(18)
  }`
}

type Words = readonly [number, number, number, number]

/** cyrb128: a fast, well-mixed hash of 128 bits, not for secrets. */
const hash128 = (text: string): Words => {
  let a = 1779033703
  let b = 3144134277
  let c = 1013904242
  let d = 2773480762
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    a = b ^ Math.imul(a ^ code, 597399067)
    b = c ^ Math.imul(b ^ code, 2869860233)
    c = d ^ Math.imul(c ^ code, 951274213)
    d = a ^ Math.imul(d ^ code, 2716044179)
  }
  a = Math.imul(c ^ (a >>> 18), 597399067)
  b = Math.imul(d ^ (b >>> 22), 2869860233)
  c = Math.imul(a ^ (c >>> 17), 951274213)
  d = Math.imul(b ^ (d >>> 19), 2716044179)
  return [a ^ b ^ c ^ d, b ^ a, c ^ a, d ^ a]
}

/** sfc32 of PractRand: small, fast, passes its tests. */
const sfc32 = ([seedA, seedB, seedC, seedD]: Words): () => number => {
  let [a, b, c, d] = [seedA, seedB, seedC, seedD]
  return () => {
    const sum = (a + b + d) | 0
    d = (d + 1) | 0
    a = b ^ (b >>> 9)
    b = (c + (c << 3)) | 0
    c = ((c << 21) | (c >>> 11)) + sum | 0
    return (sum >>> 0) / 4294967296
  }
}
