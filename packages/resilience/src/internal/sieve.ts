/**
 * A bounded map that keeps what is used again (SIEVE, Zhang et al., NSDI 2024):
 * a hand goes from the oldest entry to the newest, spares once whoever was used
 * since it came by, and drops the first one that was not. A use costs one
 * assignment and no reordering.
 */
export interface Entry {
  used: boolean
}

export interface Sieve<E extends Entry> {
  readonly entries: Map<string, E>
  /** Iterators of a map are live: they skip what is deleted and reach what is added. */
  hand: Iterator<[string, E]>
}

export const make = <E extends Entry>(): Sieve<E> => {
  const entries = new Map<string, E>()
  return { entries, hand: entries.entries() }
}

/** Drops one entry and gives its key; undefined when there is none. */
export const evict = <E extends Entry>(self: Sieve<E>): string | undefined => {
  while (self.entries.size > 0) {
    const next = self.hand.next()
    if (next.done === true) {
      self.hand = self.entries.entries()
      continue
    }
    const [key, entry] = next.value
    if (!entry.used) {
      self.entries.delete(key)
      return key
    }
    entry.used = false
  }
  return undefined
}
