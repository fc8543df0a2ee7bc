/** A form with one file, as `multipart/form-data` (RFC 7578), of which nothing but the piece at hand is kept. */
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Stream from "effect/Stream"

export interface Form<E, R> {
  readonly fields: Readonly<Record<string, string>>
  readonly file: {
    readonly filename: string
    readonly contentType: string
    /** In bytes, where it is known. */
    readonly size: number | undefined
    readonly content: Stream.Stream<Uint8Array, E, R>
  }
}

export interface Encoded<E, R> {
  readonly contentType: string
  readonly contentLength: number | undefined
  readonly body: Stream.Stream<Uint8Array, E, R>
}

const encoder = new TextEncoder()

/** As browsers write names of files. */
const quoted = (name: string): string => `"${name.replace(/["\r\n]/g, (character) => encodeURIComponent(character))}"`

const head = (name: string, more = ""): string => `content-disposition: form-data; name=${quoted(name)}${more}\r\n`

const draw = Effect.map(Random.nextIntBetween(0, 2 ** 48), (number) => number.toString(36).padStart(10, "0"))

/** Long enough that no file holds it by chance. */
const makeBoundary = Effect.map(Effect.all([draw, draw, draw]), (parts) => `ballast-${parts.join("")}`)

/** Encodes a form. The file comes last, so that a service knows the rest before. */
export const encode = <E, R>({ fields, file }: Form<E, R>): Effect.Effect<Encoded<E, R>> =>
  Effect.map(makeBoundary, (boundary) => {
    const parts = Object.entries(fields).map(([name, value]) => `--${boundary}\r\n${head(name)}\r\n${value}\r\n`)
    const opening = encoder.encode(
      `${parts.join("")}--${boundary}\r\n${head("file", `; filename=${quoted(file.filename)}`)}` +
        `content-type: ${file.contentType}\r\n\r\n`
    )
    const closing = encoder.encode(`\r\n--${boundary}--\r\n`)
    return {
      contentType: `multipart/form-data; boundary=${boundary}`,
      contentLength: file.size === undefined ? undefined : opening.length + file.size + closing.length,
      body: Stream.concat(Stream.concat(Stream.succeed(opening), file.content), Stream.succeed(closing))
    }
  })
