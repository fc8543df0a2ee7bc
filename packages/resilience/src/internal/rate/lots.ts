/** Weight that a process leased and has not used: a few lots, the oldest first. */

/** What was leased at one time. */
export interface Lot {
  weight: number
  /** When the store took it, on the store's clock. */
  readonly at: number
  /** When it may no longer be used, on this process's clock. */
  readonly expiresAt: number
}

/** So much of a lot, and when the store took it. */
export interface Part {
  readonly weight: number
  readonly at: number
}

/** When the store took a weight: at one time, or its parts at several, the oldest first. */
export type TakenAt = number | ReadonlyArray<Part>

export interface Lots {
  readonly lots: Array<Lot>
  weight: number
}

export const make = (): Lots => ({ lots: [], weight: 0 })

export const add = (self: Lots, lot: Lot): void => {
  self.lots.push(lot)
  self.weight += lot.weight
}

const shift = (self: Lots): Lot | undefined => {
  const lot = self.lots.shift()
  // Set and not subtracted: fractions leave no remainder behind.
  self.weight = lot === undefined || self.lots.length === 0 ? 0 : self.weight - lot.weight
  return lot
}

const reduce = (self: Lots, lot: Lot, weight: number): void => {
  lot.weight -= weight
  self.weight -= weight
  if (lot.weight === 0) shift(self)
}

/** Uses so much of the oldest lots, when there is as much, and returns when that was taken. */
export const use = (self: Lots, now: number, weight: number): TakenAt | undefined => {
  const [first] = self.lots
  if (first === undefined || now >= first.expiresAt) return undefined
  if (first.weight >= weight) {
    reduce(self, first, weight)
    return first.at
  }
  if (self.weight < weight) return undefined
  const parts: Array<Part> = []
  let left = weight
  for (let lot = self.lots[0]; lot !== undefined && left > 0; lot = self.lots[0]) {
    const used = Math.min(lot.weight, left)
    parts.push({ weight: used, at: lot.at })
    left -= used
    reduce(self, lot, used)
  }
  return parts
}

/**
 * What goes back to which time when so much is given back: of the latest part
 * first, which a use of the rest alone would have left.
 */
export const refunds = (takenAt: TakenAt, weight: number): ReadonlyArray<Part> => {
  if (typeof takenAt === "number") return [{ weight, at: takenAt }]
  const parts: Array<Part> = []
  let left = weight
  for (const part of takenAt.toReversed()) {
    if (left <= 0) break
    parts.push({ weight: Math.min(part.weight, left), at: part.at })
    left -= part.weight
  }
  return parts
}

/** Takes out what may not be used from then on. */
export const drop = (self: Lots, now: number): ReadonlyArray<Lot> => {
  const dropped: Array<Lot> = []
  for (let lot = self.lots[0]; lot !== undefined && lot.expiresAt <= now; lot = self.lots[0]) {
    shift(self)
    dropped.push(lot)
  }
  return dropped
}
