/** Reads `multipart/form-data` (RFC 7578) from a body that is there as a whole. The work is linear in its bytes. */

export interface Part {
  /** There when the part is a file. */
  readonly filename: string | undefined
  readonly bytes: Uint8Array
}

export type Form = ReadonlyMap<string, Part>

const boundaryOf = (contentType: string | undefined): string | undefined => {
  if (contentType === undefined || !/^multipart\/form-data\s*;/i.test(contentType)) return undefined
  const [, quoted, plain] = /;\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))/i.exec(contentType) ?? []
  return quoted ?? plain
}

/** More parts than a form of this API has. */
const maxParts = 32

/** How long the head of a part may be. */
const maxHead = 8_192

const headEnd = "\r\n\r\n"

const unescaped = (name: string): string =>
  name.replace(/%(22|0D|0A)/gi, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)))

/** A parameter of `content-disposition`. Browsers write quotes as `%22`, others with a backslash. */
const parameter = (head: string, name: string): string | undefined => {
  const [, quoted] = new RegExp(`;\\s*${name}="((?:[^"\\\\\\r\\n]|\\\\.)*)"`, "i").exec(head) ?? []
  return quoted === undefined ? undefined : unescaped(quoted.replace(/\\(.)/g, "$1"))
}

/** The parts by name, or what is wrong with the body. */
export const parse = (contentType: string | undefined, body: Uint8Array): Form | string => {
  const boundary = boundaryOf(contentType)
  if (boundary === undefined) return "expected a body of the type multipart/form-data with a boundary"
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength)
  const delimiter = Buffer.from(`\r\n--${boundary}`)
  const parts = new Map<string, Part>()
  const opening = `--${boundary}`
  if (bytes.toString("latin1", 0, opening.length) !== opening) return "the body does not begin with its boundary"
  let at = opening.length
  while (bytes.toString("latin1", at, at + 2) !== "--") {
    const headFrom = at + 2
    const found = bytes.subarray(headFrom - 2, headFrom + maxHead).indexOf(headEnd)
    const end = bytes.indexOf(delimiter, headFrom)
    if (found === -1 || end === -1) return "the body ends within a part"
    const from = headFrom - 2 + found + headEnd.length
    const head = bytes.toString("utf8", headFrom, from)
    const name = parameter(head, "name")
    if (name === undefined) return "a part has no name"
    if (parts.size === maxParts) return `more than ${maxParts} parts`
    parts.set(name, { filename: parameter(head, "filename"), bytes: bytes.subarray(from, Math.max(from, end)) })
    at = end + delimiter.length
  }
  return parts
}
