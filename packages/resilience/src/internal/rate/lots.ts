/** Weight that a process leased and has not used: a few lots, the oldest first. */

/** What was leased at one time. */
export interface Lot {
  weight: number
  /** When the store took it, on the store's clock. */
  readonly at: number
  /** When it may no longer be used, on this process's clock. */
  readonly expiresAt: number
}

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

/**
 * Uses so much of the oldest lots, when there is as much, and returns when the
 * last of it was taken.
 */
export const use = (self: Lots, now: number, weight: number): number | undefined => {
  const [first] = self.lots
  if (first === undefined || now >= first.expiresAt) return undefined
  if (first.weight > weight) {
    first.weight -= weight
    self.weight -= weight
    return first.at
  }
  if (self.weight < weight) return undefined
  let left = weight
  let at = first.at
  for (let lot = self.lots[0]; lot !== undefined && left > 0; lot = self.lots[0]) {
    const used = Math.min(lot.weight, left)
    at = lot.at
    left -= used
    lot.weight -= used
    self.weight -= used
    if (lot.weight === 0) shift(self)
  }
  return at
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
