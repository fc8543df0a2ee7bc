import { assert, describe, it } from "@effect/vitest"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { afterAll } from "vitest"
import { isCall } from "../src/internal/ledger/call.ts"
import * as Spool from "../src/internal/ledger/spool.ts"
import { call } from "./support/calls.ts"

const root = Fs.mkdtempSync(Path.join(Os.tmpdir(), "spool-"))
afterAll(() => Fs.rmSync(root, { recursive: true }))

let folders = 0
const make = (options: Partial<Spool.Options> = {}) => {
  const folder = Path.join(root, String(++folders))
  return { folder, spool: Spool.make({ folder, run: "run", maxBytes: 1e9, ...options }) }
}

const row = (n: number) => ({ id: `row-${n}`, ...call() })
const append = (spool: Spool.Spool, count: number, from = 0) =>
  Array.from({ length: count }, (_, n) => spool.append(row(from + n))).filter((kept) => kept).length

/** The ids of all rows, segment by segment. */
const drain = (spool: Spool.Spool): ReadonlyArray<string> => {
  const ids: Array<string> = []
  for (let segment = spool.oldest(); segment !== undefined; segment = spool.oldest()) {
    ids.push(...spool.read(segment).filter(isCall).map(({ id }) => id))
    spool.done(segment)
  }
  return ids
}

/** The end of this turn of the event loop, when rows are written. */
const turn = () => new Promise(setImmediate)

const ids = (count: number) => Array.from({ length: count }, (_, n) => `row-${n}`)

describe("spool", () => {
  it("gives rows in their order, and removes their files", async () => {
    const { folder, spool } = make()
    append(spool, 5)
    await turn()
    assert.strictEqual(Fs.readdirSync(folder).length, 1)
    assert.deepStrictEqual(drain(spool), ids(5))
    assert.deepStrictEqual(Fs.readdirSync(folder), [])
    assert.deepStrictEqual(spool.size(), { rows: 0, bytes: 0, inMemory: 0 })
  })

  it("keeps few rows in memory and reads the others back", () => {
    const { spool } = make({ maxRowsInMemory: 10, maxSegmentBytes: 4_000 })
    append(spool, 100)
    assert.isAtMost(spool.size().inMemory, 10)
    assert.isAbove(spool.size().bytes, 4_000)
    assert.deepStrictEqual(drain(spool), ids(100))
  })

  it("has a bound on disk, and one in memory behind it", () => {
    const { spool } = make({ maxRowsInMemory: 10, maxBytes: 20_000 })
    const kept = append(spool, 200)
    assert.isBelow(kept, 200)
    assert.isBelow(spool.size().bytes, 22_000)
    assert.deepStrictEqual(drain(spool), ids(kept))
    // There is room again.
    assert.strictEqual(append(spool, 5), 5)
  })

  it("keeps rows in memory where no file can be written", () => {
    const file = Path.join(root, "a-file")
    Fs.writeFileSync(file, "")
    const { spool } = make({ folder: Path.join(file, "below"), maxRowsInMemory: 10 })
    assert.isDefined(spool.problem())
    assert.strictEqual(append(spool, 15), 10)
    assert.deepStrictEqual(drain(spool), ids(10))
  })

  it("writes files again once they can be written", async () => {
    const { folder, spool } = make()
    append(spool, 1)
    drain(spool)
    Fs.rmSync(folder, { recursive: true })
    append(spool, 1)
    await turn()
    assert.isDefined(spool.problem())
    Fs.mkdirSync(folder)
    assert.deepStrictEqual(drain(spool), ["row-0"])
    append(spool, 1)
    await turn()
    assert.strictEqual(Fs.readdirSync(folder).length, 1)
  })

  it("takes the files of processes that have ended, and not those of others that run", () => {
    const { folder, spool } = make()
    append(spool, 3)
    spool.close()
    const [own = ""] = Fs.readdirSync(folder)
    // No process has this id.
    Fs.renameSync(Path.join(folder, own), Path.join(folder, own.replace(/^\d+/, "4194305")))
    Fs.writeFileSync(Path.join(folder, `${process.ppid}-run-000000.jsonl`), `${JSON.stringify(row(7))}\n`)
    Fs.writeFileSync(Path.join(folder, "notes.jsonl"), "mine")
    const next = Spool.make({ folder, run: "next", maxBytes: 1e9 })
    assert.deepStrictEqual(drain(next), ids(3))
    assert.strictEqual(Fs.readdirSync(folder).length, 2)
  })
})
