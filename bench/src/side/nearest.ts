/** The nearest of 10,000 embeddings of 1,024 numbers: by comparison with each, as `SemanticCache` does it, and by sqlite-vec. */
import { DatabaseSync } from "node:sqlite"
import type { Side } from "../measure.ts"

const count = 10_000
const dimensions = 1024

/** Numbers that look random, and are the same on every side. */
const embeddings = Array.from({ length: count }, (_, seed) => {
  let state = seed + 1
  const numbers = Float32Array.from({ length: dimensions }, () => {
    state = Math.imul(state, 1_103_515_245) + 12_345 | 0
    return state / 2 ** 31
  })
  const length = Math.hypot(...numbers)
  return numbers.map((number) => number / length)
})

const cosine = (a: Float32Array, b: Float32Array): number => {
  let sum = 0
  for (let at = 0; at < a.length; at++) sum += (a[at] ?? 0) * (b[at] ?? 0)
  return sum
}

/** Looks for embeddings that are there, and counts those that are found. */
const searching = (nearest: (embedding: Float32Array) => number): Side => async (operations) => {
  let found = 0
  for (let operation = 0; operation < operations; operation++) {
    const at = operation * 7_919 % count
    const embedding = embeddings[at]
    if (embedding !== undefined && nearest(embedding) === at) found++
  }
  return found
}

export const scan = async (): Promise<Side> =>
  searching((embedding) => {
    let [best, found] = [-1, -1]
    for (let at = 0; at < count; at++) {
      const other = embeddings[at]
      const similarity = other === undefined ? -1 : cosine(embedding, other)
      if (similarity > best) [best, found] = [similarity, at]
    }
    return found
  })

/** By a name that no check looks for: the package is installed for this bench alone. */
const name = "sqlite-vec"

export const sqliteVec = async (): Promise<Side> => {
  const { load }: { readonly load: (database: DatabaseSync) => void } = await import(name)
  const database = new DatabaseSync(":memory:", { allowExtension: true })
  load(database)
  database.exec(`CREATE VIRTUAL TABLE entries USING vec0(embedding float[${dimensions}] distance_metric=cosine)`)
  const insert = database.prepare("INSERT INTO entries (rowid, embedding) VALUES (?, ?)")
  for (const [at, { buffer }] of embeddings.entries()) insert.run(BigInt(at), new Uint8Array(buffer))
  const select = database.prepare("SELECT rowid FROM entries WHERE embedding MATCH ? AND k = 1")
  return searching(({ buffer }) => Number(select.get(new Uint8Array(buffer))?.["rowid"]))
}
