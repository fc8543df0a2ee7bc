/** Keys that a store in memory keeps: keys that come from outside must not fill the memory. */
export const maxKeys = 100_000

/** How many of the longest unused entries are looked at. */
const looks = 16

/**
 * Drops one entry of a map whose order is that of use: of the longest unused ones the first that may go unnoticed, or else the very first.
 * A pinned one, which somebody set by hand, counts as used.
 */
export const makeRoom = <E>(
  entries: Map<string, E>,
  kindOf: (entry: E) => "unnoticed" | "missed" | "pinned"
): E | undefined => {
  let oldest: string | undefined
  let looked = 0
  for (const [key, entry] of entries) {
    const kind = kindOf(entry)
    if (kind === "unnoticed") return drop(entries, key)
    if (kind === "missed") oldest ??= key
    else {
      entries.delete(key)
      entries.set(key, entry)
    }
    if (++looked === looks) break
  }
  return drop(entries, oldest ?? entries.keys().next().value)
}

const drop = <E>(entries: Map<string, E>, key: string | undefined): E | undefined => {
  if (key === undefined) return undefined
  const entry = entries.get(key)
  entries.delete(key)
  return entry
}
