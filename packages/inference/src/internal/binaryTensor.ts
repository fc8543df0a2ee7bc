/** Elements as raw bytes: little-endian, without padding; a text is its length in 4 bytes, then its UTF-8 bytes. */
import * as Result from "effect/Result"
import { type Data, type Datatype, datatypes, type Tensor } from "../Tensor.ts"

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

const lengthBytes = 4

/** The elements, or what is wrong. */
export const read = (datatype: Datatype, size: number, bytes: Uint8Array): Result.Result<Data, string> => {
  const { bytes: each, create } = datatypes[datatype]
  if (create === undefined) return readTexts(size, bytes)
  if (bytes.length !== size * each) {
    return Result.fail(
      `the shape has ${size} elements of ${each} bytes, which is ${size * each}, but it is ${bytes.length}`
    )
  }
  // A copy, since a view has to begin at a multiple of its element's size.
  const data = create(size)
  new Uint8Array(data.buffer).set(bytes)
  return datatype === "BOOL" && bytes.some((byte) => byte > 1)
    ? Result.fail("a BOOL is a byte that is 0 or 1")
    : Result.succeed(data)
}

const readTexts = (size: number, bytes: Uint8Array): Result.Result<Data, string> => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const texts: Array<string> = []
  let at = 0
  while (at + lengthBytes <= bytes.length) {
    const length = view.getUint32(at, true)
    const end = at + lengthBytes + length
    if (end > bytes.length) break
    try {
      texts.push(utf8.decode(bytes.subarray(at + lengthBytes, end)))
    } catch {
      return Result.fail(`element ${texts.length} is not UTF-8, which models with texts need`)
    }
    at = end
  }
  if (at !== bytes.length) return Result.fail(`element ${texts.length} ends after the tensor's bytes`)
  return texts.length === size
    ? Result.succeed(texts)
    : Result.fail(`the shape has ${size} elements, but the bytes hold ${texts.length}`)
}

export const write = ({ data }: Tensor): Uint8Array => {
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
  const parts = data.map((element) => typeof element === "string" ? Buffer.from(element) : element)
  return Buffer.concat(parts.flatMap((part) => {
    const length = Buffer.alloc(lengthBytes)
    length.writeUInt32LE(part.length)
    return [length, part]
  }))
}
