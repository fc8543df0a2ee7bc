/**
 * Vectors of texts. DeepSeek has no such endpoint; other hosts that speak its API do. A vector is made of the hashes of a text's words, so
 * the same text has the same vector, and texts that share words have similar ones.
 */
import * as Result from "effect/Result"
import * as Draw from "./draw.ts"
import * as Refusal from "./refusal.ts"
import { type Arrival, data, refuse, type Reply } from "./reply.ts"
import * as Serde from "./serde.ts"
import type { Settings } from "./settings.ts"
import * as Tokens from "./tokens.ts"
import * as Validate from "./validate.ts"

interface Request {
  readonly model: string
  readonly input: ReadonlyArray<string>
  readonly base64: boolean
  readonly dimensions: number
}

const usual = 64
const [mostInputs, mostDimensions] = [2_048, 4_096]

const texts: Serde.Decoder<ReadonlyArray<string>> = (input, path) =>
  typeof input === "string" ? Result.succeed([input]) : Serde.array(Serde.string)(input, path)

const decode: Serde.Decoder<Request> = (input, path) =>
  Result.gen(function*() {
    const from = yield* Serde.fields("EmbeddingRequest")(input, path)
    const optional = <A>(name: string, decoder: Serde.Decoder<A>) => Serde.optional(from, name, decoder, path)
    return {
      model: yield* Serde.required(from, "model", Serde.string, path),
      input: yield* Serde.required(from, "input", texts, path),
      base64: (yield* optional("encoding_format", Serde.literals("float", "base64"))) === "base64",
      dimensions: (yield* optional("dimensions", Serde.integer)) ?? usual
    }
  })

const problem = ({ dimensions, input }: Request): string | undefined => {
  if (input.length === 0 || input.length > mostInputs) return `Invalid input: 1 to ${mostInputs} texts are supported`
  if (input.some((text) => text === "")) return "Invalid input: a text must not be empty"
  return dimensions >= 1 && dimensions <= mostDimensions
    ? undefined
    : `Invalid dimensions value, the valid range is [1, ${mostDimensions}]`
}

const vectorOf = (text: string, dimensions: number): ReadonlyArray<number> => {
  const sums = new Float64Array(dimensions)
  for (const word of new Set(text.toLowerCase().match(/\p{Script=Han}|[\p{L}\p{N}]+/gu) ?? [text])) {
    const draw = Draw.make("embedding", word)
    for (let at = 0; at < dimensions; at++) sums[at] = (sums[at] ?? 0) + draw.next() - 0.5
  }
  const length = Math.hypot(...sums) || 1
  return Array.from(sums, (value) => Math.fround(value / length))
}

const encoded = (vector: ReadonlyArray<number>): string =>
  Buffer.from(new Float32Array(vector).buffer).toString("base64")

export const make = ({ keepAlive }: Settings) => (arrival: Arrival): Reply => {
  const read = Validate.body(new TextDecoder().decode(arrival.request.body), decode)
  if (Result.isFailure(read)) return refuse(read.failure, arrival)
  const { base64, dimensions, input, model } = read.success
  const wrong = problem(read.success)
  if (wrong !== undefined) return refuse(Refusal.invalid(wrong), arrival)
  const tokens = input.reduce((sum, text) => sum + Tokens.measure(text, 0).tokens, 0)
  const body = {
    object: "list",
    model,
    data: input.map((text, index) => {
      const vector = vectorOf(text, dimensions)
      return { object: "embedding", index, embedding: base64 ? encoded(vector) : vector }
    }),
    usage: { prompt_tokens: tokens, total_tokens: tokens }
  }
  return data(body, arrival.fault, keepAlive)
}
