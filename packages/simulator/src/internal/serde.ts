/** Decoders that fail the way the service's own (serde) does: with the path and the words of its errors. */
import * as Result from "effect/Result"

export interface Mismatch {
  /** Where, as `messages[0].role`; empty for the body itself. */
  readonly path: string
  readonly text: string
}

export type Decoder<A> = (input: unknown, path: string) => Result.Result<A, Mismatch>

export type Fields = { readonly [name: string]: unknown }

const mismatch = (path: string, text: string) => Result.fail({ path, text })

const describe = (input: unknown): string => {
  if (input === null || input === undefined) return "null"
  if (Array.isArray(input)) return "sequence"
  switch (typeof input) {
    case "string":
      return `string ${JSON.stringify(input.slice(0, 100))}`
    case "number":
      return Number.isInteger(input) ? `integer \`${input}\`` : `floating point \`${input}\``
    case "boolean":
      return `boolean \`${input}\``
    default:
      return "map"
  }
}

export const invalidType = (input: unknown, path: string, expected: string) =>
  mismatch(path, `invalid type: ${describe(input)}, expected ${expected}`)

const primitive = <A>(is: (input: unknown) => input is A, expected: string): Decoder<A> => (input, path) =>
  is(input) ? Result.succeed(input) : invalidType(input, path, expected)

export const string = primitive((input) => typeof input === "string", "a string")
export const boolean = primitive((input) => typeof input === "boolean", "a boolean")
export const number = primitive((input) => typeof input === "number", "f64")
export const integer = primitive((input): input is number => Number.isSafeInteger(input), "i64")

export const isFields = (input: unknown): input is Fields =>
  typeof input === "object" && input !== null && !Array.isArray(input)

/** Whether a value nests deeper than serde reads JSON. */
export const isTooDeep = (input: unknown, levels = 127): boolean =>
  typeof input === "object" && input !== null &&
  (levels === 0 || Object.values(input).some((part) => isTooDeep(part, levels - 1)))

export const fields = (name: string): Decoder<Fields> => primitive(isFields, `struct ${name}`)

export const literals = <const Variants extends ReadonlyArray<string>>(
  ...variants: Variants
): Decoder<Variants[number]> =>
(input, path) =>
  Result.flatMap(primitive((value) => typeof value === "string", "a string")(input, path), (text) => {
    const variant = variants.find((variant) => variant === text)
    const expected = variants.map((variant) => `\`${variant}\``).join(", ")
    return variant === undefined
      ? mismatch(path, `unknown variant \`${text}\`, expected ${variants.length > 1 ? "one of " : ""}${expected}`)
      : Result.succeed(variant)
  })

export const array = <A>(item: Decoder<A>): Decoder<ReadonlyArray<A>> => (input, path) => {
  if (!Array.isArray(input)) return invalidType(input, path, "a sequence")
  const items: Array<A> = []
  for (const [index, value] of input.entries()) {
    const decoded = item(value, `${path}[${index}]`)
    if (Result.isFailure(decoded)) return Result.fail(decoded.failure)
    items.push(decoded.success)
  }
  return Result.succeed(items)
}

const join = (path: string, name: string) => path === "" ? name : `${path}.${name}`

/** A field that must be there. */
export const required = <A>(
  from: Fields,
  name: string,
  decoder: Decoder<A>,
  path: string
): Result.Result<A, Mismatch> =>
  from[name] === undefined ? mismatch(path, `missing field \`${name}\``) : decoder(from[name], join(path, name))

/** A field that may be missing or null. */
export const optional = <A>(
  from: Fields,
  name: string,
  decoder: Decoder<A>,
  path: string
): Result.Result<A | undefined, Mismatch> =>
  from[name] === undefined || from[name] === null ? Result.succeed(undefined) : decoder(from[name], join(path, name))

export { mismatch as fail }
