/** The number of letters to insert, delete, replace or swap with a neighbour that turns one word into the other. */
const distance = (a: string, b: string): number => {
  let before: Array<number> = []
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1]
      let least = Math.min((previous[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, (previous[j - 1] ?? 0) + (same ? 0 : 1))
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        least = Math.min(least, (before[j - 2] ?? 0) + 1)
      }
      row.push(least)
    }
    before = previous
    previous = row
  }
  return previous[b.length] ?? 0
}

/** The name that a word was probably meant to be: at most a third of its letters differ, letter case and `_-` aside. */
export const nearest = (word: string, names: ReadonlyArray<string>): string | undefined => {
  const plain = (text: string) => text.slice(0, 64).toLowerCase().replaceAll(/[_-]/g, "")
  const ranked = names.map((name) => ({ name, far: distance(plain(word), plain(name)) })).sort((a, b) => a.far - b.far)
  const [best] = ranked
  return best !== undefined && best.far <= Math.max(1, Math.floor(best.name.length / 3)) ? best.name : undefined
}
