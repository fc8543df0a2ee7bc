/**
 * Rows on their way to the database, in the order in which they came: in files, so that neither a dead database nor a killed process loses one, and in memory as far as there is room, so that a healthy
 * database is written to without reading them back.
 *
 * A call that ends appends its row to the current segment, a file of one JSON object a line. The rows of a turn of the event loop are written together, before the answers of that turn: the operating system
 * has the row of every call that was answered, and keeps it when the process is killed (a power failure takes it). The writer takes the oldest segment, and removes it once its rows are in the database. Files
 * that a dead process left are taken too. All of it is synchronous and short.
 *
 * Without a folder, or when a file can't be written, rows are in memory alone.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as endOfTurn from "../endOfTurn.ts"
import { parseLines, type Row } from "./call.ts"

export interface Segment {
  /** Undefined when it is in memory alone. */
  readonly path: string | undefined
  /** Undefined when it has to be read back, since memory was full, or another process wrote it. */
  rows: Array<Row> | undefined
  file: number | undefined
  bytes: number
  count: number
  /** How many of its rows were given to its file. */
  filed: number
}

export interface Options {
  readonly folder: string | undefined
  /** Distinguishes this process's files. */
  readonly run: string
  /** Bytes of all files. */
  readonly maxBytes: number
  readonly maxRowsInMemory?: number | undefined
  readonly maxSegmentBytes?: number | undefined
}

export interface Spool {
  /** False when there is no room: the row is lost. */
  readonly append: (row: Row) => boolean
  /** The oldest segment; it stays the oldest until it is done. */
  readonly oldest: () => Segment | undefined
  readonly newest: () => Segment | undefined
  readonly read: (segment: Segment) => ReadonlyArray<Row>
  readonly done: (segment: Segment) => void
  /** Rows of this process, without those of files that were left; and bytes of all files. */
  readonly size: () => { readonly rows: number; readonly bytes: number; readonly inMemory: number }
  /** Why files can't be used. */
  readonly problem: () => unknown
  readonly close: () => void
}

const suffix = ".jsonl"

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM"
  }
}

/** Files of processes that have ended. One that has this process's id is from before a restart, as in a container. */
const leftBehind = (folder: string): ReadonlyArray<string> =>
  Fs.readdirSync(folder).filter((name) => {
    const pid = Number(/^(\d+)-.*\.jsonl$/.exec(name)?.[1] ?? NaN)
    return pid === process.pid || (Number.isInteger(pid) && !isAlive(pid))
  }).sort().map((name) => Path.join(folder, name))

const segmentOf = (path: string | undefined): Segment => ({
  path,
  rows: [],
  file: undefined,
  bytes: 0,
  count: 0,
  filed: 0
})

export const make = (options: Options): Spool => {
  const { folder, maxBytes, maxRowsInMemory = 10_000, maxSegmentBytes = 1_048_576, run } = options
  const segments: Array<Segment> = []
  let current: Segment | undefined
  let made = 0
  let rows = 0
  let bytes = 0
  let inMemory = 0
  let problem: unknown

  const begin = (): Segment => {
    const path = folder === undefined || problem !== undefined || bytes >= maxBytes
      ? undefined
      : Path.join(folder, `${process.pid}-${run}-${String(made++).padStart(6, "0")}${suffix}`)
    const segment = segmentOf(path)
    segments.push(segment)
    return segment
  }

  /** Appends rows to the file. False when it can't be written, or not whole. */
  const write = (segment: Segment, added: ReadonlyArray<Row>): boolean => {
    if (segment.path === undefined || problem !== undefined || bytes >= maxBytes) return false
    const text = added.map((row) => `${JSON.stringify(row)}\n`).join("")
    const length = Buffer.byteLength(text)
    try {
      segment.file ??= Fs.openSync(segment.path, "a", 0o600)
      const isWhole = Fs.writeSync(segment.file, text) === length
      segment.bytes += length
      bytes += length
      return isWhole
    } catch (error) {
      problem = error
      return false
    }
  }

  /** Gives the file what came since the last time. A segment whose file is not whole takes no more rows: it is whole in memory. */
  const file = (segment: Segment): void => {
    const { filed, path, rows } = segment
    if (path === undefined || rows === undefined || filed === rows.length) return
    segment.filed = rows.length
    const isWritten = write(segment, filed === 0 ? rows : rows.slice(filed))
    if (!isWritten || segment.bytes >= maxSegmentBytes) seal(segment)
  }

  const seal = (segment: Segment): void => {
    if (current === segment) current = undefined
    file(segment)
    if (segment.file !== undefined) Fs.closeSync(segment.file)
    segment.file = undefined
  }

  const forget = (segment: Segment): void => {
    inMemory -= segment.rows?.length ?? 0
    segment.rows = undefined
  }

  const append = (row: Row): boolean => {
    const hasRoom = inMemory < maxRowsInMemory
    // A segment is whole in memory, or whole in its file.
    if (current !== undefined && !hasRoom) file(current)
    if (current !== undefined && hasRoom && current.rows === undefined) seal(current)
    const segment = current ??= begin()
    if (hasRoom && segment.rows !== undefined) {
      if (segment.filed === segment.rows.length) endOfTurn.beforeAnswers(() => file(segment))
      segment.rows.push(row)
      inMemory++
    } else {
      if (!write(segment, [row])) return false
      forget(segment)
      if (segment.bytes >= maxSegmentBytes) seal(segment)
    }
    segment.count++
    rows++
    return true
  }

  if (folder !== undefined) {
    try {
      Fs.mkdirSync(folder, { recursive: true, mode: 0o700 })
      Fs.accessSync(folder, Fs.constants.W_OK)
      for (const path of leftBehind(folder)) {
        const size = Fs.statSync(path).size
        segments.push({ path, rows: undefined, file: undefined, bytes: size, count: 0, filed: 0 })
        bytes += size
      }
    } catch (error) {
      problem = error
    }
  }

  return {
    append,
    oldest: () => segments[0],
    newest: () => segments.at(-1),
    read: (segment) => {
      seal(segment)
      if (segment.rows !== undefined) return segment.rows
      return segment.path === undefined ? [] : parseLines(Fs.readFileSync(segment.path, "utf8"))
    },
    done: (segment) => {
      const index = segments.indexOf(segment)
      if (index === -1) return
      seal(segment)
      segments.splice(index, 1)
      forget(segment)
      rows -= segment.count
      bytes -= segment.bytes
      if (segment.path !== undefined && segment.bytes > 0) Fs.rmSync(segment.path, { force: true })
      // There may be room for files again.
      problem = undefined
    },
    size: () => ({ rows, bytes, inMemory }),
    problem: () => problem,
    close: () => segments.forEach(seal)
  }
}
