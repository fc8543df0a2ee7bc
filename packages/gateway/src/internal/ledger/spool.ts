/**
 * Rows on their way to the database, in the order in which they came: in files, so that neither a dead database nor a killed process loses one, and in memory as far as there is room, so that a healthy
 * database is written to without reading them back.
 *
 * Rows are appended to the current segment, a file of one JSON object a line, by the call that ends: the operating system has the row then, which outlives the process (a power
 * failure it does not). The writer takes the oldest segment, and removes it once its rows are in the database. Files that a dead process left are taken too. All of it is synchronous and short.
 *
 * Without a folder, or when a file can't be written, rows are in memory alone.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { parseLines, type Row } from "./call.ts"

export interface Segment {
  /** Undefined when it is in memory alone. */
  readonly path: string | undefined
  /** Undefined when it has to be read back, since memory was full, or another process wrote it. */
  rows: Array<Row> | undefined
  file: number | undefined
  bytes: number
  count: number
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
  count: 0
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

  const seal = (segment: Segment): void => {
    if (segment.file !== undefined) Fs.closeSync(segment.file)
    segment.file = undefined
    if (current === segment) current = undefined
  }

  /** Whether the file has the row. */
  const write = (segment: Segment, row: Row): boolean => {
    if (segment.path === undefined || problem !== undefined || bytes >= maxBytes) return false
    const line = `${JSON.stringify(row)}\n`
    const length = Buffer.byteLength(line)
    try {
      segment.file ??= Fs.openSync(segment.path, "a", 0o600)
      const isWhole = Fs.writeSync(segment.file, line) === length
      segment.bytes += length
      bytes += length
      return isWhole
    } catch (error) {
      problem = error
      return false
    }
  }

  const forget = (segment: Segment): void => {
    inMemory -= segment.rows?.length ?? 0
    segment.rows = undefined
  }

  const append = (row: Row): boolean => {
    // A segment is whole in memory, or whole in its file.
    if (current?.rows === undefined && inMemory < maxRowsInMemory && current !== undefined) seal(current)
    const segment = current ??= begin()
    const isWritten = write(segment, row)
    const hasRoom = segment.rows !== undefined && inMemory < maxRowsInMemory
    if (!isWritten && !hasRoom) return false
    if (hasRoom) {
      segment.rows?.push(row)
      inMemory++
    } else {
      forget(segment)
    }
    segment.count++
    rows++
    if (segment.bytes >= maxSegmentBytes || (segment.path !== undefined && !isWritten)) seal(segment)
    return true
  }

  if (folder !== undefined) {
    try {
      Fs.mkdirSync(folder, { recursive: true, mode: 0o700 })
      Fs.accessSync(folder, Fs.constants.W_OK)
      for (const path of leftBehind(folder)) {
        const size = Fs.statSync(path).size
        segments.push({ path, rows: undefined, file: undefined, bytes: size, count: 0 })
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
