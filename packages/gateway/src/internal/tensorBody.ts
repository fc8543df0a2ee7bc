/** Bodies of the Open Inference Protocol as bytes: what the thread of large tensors does, and the main thread for small ones. */
import * as OpenInference from "@ballast/inference/OpenInference"
import * as Result from "effect/Result"
import * as jsonText from "./jsonText.ts"

/** As deep as a tensor has dimensions, and some. */
export const bounds = { depth: 64, values: 2_000_000 }

/** What is wrong, in the words of a `Rejection`. */
export interface Problem {
  readonly case: "InvalidField" | "MalformedJson"
  readonly detail: string
  readonly param?: string
}

const invalid = ({ message, where }: OpenInference.InvalidRequest): Problem => ({
  case: "InvalidField",
  detail: message,
  ...(where !== "" && { param: where })
})

/** Tensors of a body whose JSON is parsed. */
export const decode = (json: unknown, after: Uint8Array): Result.Result<OpenInference.Request, Problem> =>
  Result.mapError(OpenInference.decode(json, after), invalid)

/** Tensors of a body whose first `length` bytes are JSON. */
export const read = (body: Uint8Array, length: number): Result.Result<OpenInference.Request, Problem> => {
  const json = body.subarray(0, length)
  const measured = jsonText.measure(json, bounds)
  const built = typeof measured === "string" ? measured : jsonText.build(json, measured, OpenInference.parse)
  return typeof built === "string"
    ? Result.fail({ case: "MalformedJson", detail: built })
    : decode(built.json, body.subarray(length))
}

/** An answer: its bytes, and how many of them are JSON if others follow. */
export interface Written {
  readonly body: Uint8Array
  readonly json: number | undefined
}

export const write = (
  asked: OpenInference.Request,
  inferred: OpenInference.Inferred
): Result.Result<Written, Problem> =>
  Result.mapBoth(OpenInference.encode(asked, inferred), {
    onFailure: invalid,
    onSuccess: ({ binary, json }): Written => {
      const head = Buffer.from(json)
      return binary.length === 0
        ? { body: head, json: undefined }
        : { body: Buffer.concat([head, ...binary]), json: head.length }
    }
  })
