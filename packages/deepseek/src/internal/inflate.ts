import type { Transform } from "node:stream"
import * as Zlib from "node:zlib"

/** Codings that one body may have on top of each other. */
const maxCodings = 4

/**
 * The codings of a body, the outermost first; none where it has none that is known. A name that no coding has, such as `utf-8`, is what
 * some servers send for a body that is not encoded.
 */
export const codingsOf = (header: string | ReadonlyArray<string> | undefined): ReadonlyArray<string> =>
  header === undefined
    ? []
    : (typeof header === "string" ? header : header.join(",")).toLowerCase().split(",", maxCodings)
      .map((coding) => coding.trim()).filter((coding) => coding in decoders).reverse()

// What has arrived is decoded at once, since an event must not wait for the next; and a body that lacks its last bytes is given as far as it came.
const deflated = { flush: Zlib.constants.Z_SYNC_FLUSH, finishFlush: Zlib.constants.Z_SYNC_FLUSH }
const brotli = { flush: Zlib.constants.BROTLI_OPERATION_FLUSH, finishFlush: Zlib.constants.BROTLI_OPERATION_FLUSH }

const decoders: Readonly<Record<string, (first: number) => Transform>> = {
  "gzip": () => Zlib.createGunzip(deflated),
  "x-gzip": () => Zlib.createGunzip(deflated),
  // The standard means zlib's format; some servers send the bare one.
  "deflate": (first) => (first & 0x0f) === 8 ? Zlib.createInflate(deflated) : Zlib.createInflateRaw(deflated),
  "br": () => Zlib.createBrotliDecompress(brotli),
  "zstd": () => Zlib.createZstdDecompress({ finishFlush: Zlib.constants.ZSTD_e_continue })
}

/** Where decoded bytes go. */
export interface Sink {
  readonly onBytes: (bytes: Uint8Array) => void
  readonly onEnd: () => void
  readonly onError: (cause: Error) => void
  /** The decoder takes no more for now, and takes more again. */
  readonly onFull: () => void
  readonly onDrain: () => void
}

/**
 * Decodes a body as it comes, each coding in a stream of Node: little is held between them, and `pause` reaches back to the source, so that
 * a small body that decodes to a huge one is decoded no faster than it is read.
 */
export class Inflate {
  readonly first: Transform
  readonly last: Transform
  readonly all: Array<Transform> = []
  readonly sink: Sink

  constructor(codings: ReadonlyArray<string>, firstByte: number, sink: Sink) {
    this.sink = sink
    for (const coding of codings) {
      const decoder = decoders[coding]?.(this.all.length === 0 ? firstByte : 0x78)
      if (decoder !== undefined) this.all.push(decoder)
    }
    const [first] = this.all
    const last = this.all.at(-1)
    if (first === undefined || last === undefined) throw new Error("a body without codings needs no decoder")
    this.first = first
    this.last = last
    for (const [i, decoder] of this.all.entries()) {
      decoder.on("error", (cause) => {
        this.destroy()
        sink.onError(cause)
      })
      const next = this.all[i + 1]
      if (next !== undefined) decoder.pipe(next)
    }
    first.on("drain", sink.onDrain)
    last.on("data", sink.onBytes)
    last.on("end", sink.onEnd)
  }

  write(bytes: Uint8Array): void {
    if (!this.first.destroyed && !this.first.write(bytes)) this.sink.onFull()
  }

  end(): void {
    this.first.end()
  }

  pause(): void {
    this.last.pause()
  }

  resume(): void {
    if (this.last.isPaused()) this.last.resume()
  }

  destroy(): void {
    for (const decoder of this.all) decoder.destroy()
  }
}
