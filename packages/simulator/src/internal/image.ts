/** How a request may give an image, in which formats, and how large. What an image shows is not looked at. */
import * as Result from "effect/Result"
import * as Serde from "./serde.ts"

/** The most that one request may have. */
export const maxCount = 600

const maxUrlLength = 8_192
const maxInlineBytes = 32 * 1_048_576

/** The beginnings of JPEG, PNG, GIF and WebP in base64. The type that a data URL declares does not count. */
const formats = /^(?:\/9j\/|iVBORw0KGgo|R0lGOD[dl]h|UklGR.{6}XRUJQ)/

const dataUrl = /^data:[^,]*;base64,/i

type Checked = Result.Result<void, Serde.Mismatch>

const inline = (base64: string, path: string): Checked => {
  if (!formats.test(base64)) {
    return Serde.fail(path, "invalid value: expected a JPEG, PNG, GIF or WebP image in base64")
  }
  const bytes = Math.floor(base64.replace(/={1,2}$/, "").length * 3 / 4)
  return bytes <= maxInlineBytes
    ? Result.void
    : Serde.fail(path, `invalid length ${bytes}, expected at most ${maxInlineBytes} bytes`)
}

const address: Serde.Decoder<void> = (input, path) =>
  Result.flatMap(Serde.string(input, path), (url): Checked => {
    const data = dataUrl.exec(url)
    if (data !== null) return inline(url.slice(data[0].length), path)
    if (!/^https?:\/\//i.test(url)) {
      return Serde.fail(path, "invalid value: expected an http(s) URL or a data URL in base64")
    }
    return url.length <= maxUrlLength
      ? Result.void
      : Serde.fail(path, `invalid length ${url.length}, expected a URL of at most ${maxUrlLength} characters`)
  })

const details = Serde.literals("low", "high", "original", "auto")

export const url: Serde.Decoder<void> = (input, path) =>
  Result.gen(function*() {
    const from = yield* Serde.fields("ImageUrl")(input, path)
    yield* Serde.required(from, "url", address, path)
    yield* Serde.optional(from, "detail", details, path)
  })

export const file: Serde.Decoder<void> = (input, path) =>
  Result.gen(function*() {
    const from = yield* Serde.fields("File")(input, path)
    const id = yield* Serde.optional(from, "file_id", Serde.string, path)
    const data = yield* Serde.optional(from, "file_data", Serde.string, path)
    yield* Serde.optional(from, "filename", Serde.string, path)
    if ((id === undefined) === (data === undefined)) {
      return yield* Serde.fail(path, "expected exactly one of `file_id` and `file_data`")
    }
    if (data !== undefined) yield* inline(data.replace(dataUrl, ""), `${path}.file_data`)
  })
