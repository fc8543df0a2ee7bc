/** The program of the thread that reads and writes large tensors. */
import type * as OpenInference from "@ballast/inference/OpenInference"
import * as Result from "effect/Result"
import { parentPort } from "node:worker_threads"
import * as tensorBody from "./tensorBody.ts"

export type ToThread =
  | { readonly _tag: "Read"; readonly body: Uint8Array; readonly length: number }
  | { readonly _tag: "Write"; readonly asked: OpenInference.Request; readonly inferred: OpenInference.Inferred }

export type FromThread =
  | { readonly _tag: "Tensors"; readonly request: OpenInference.Request }
  | ({ readonly _tag: "Written" } & tensorBody.Written)
  | { readonly _tag: "Problem"; readonly problem: tensorBody.Problem }

const refused = (problem: tensorBody.Problem): FromThread => ({ _tag: "Problem", problem })

const answer = (message: ToThread): FromThread =>
  message._tag === "Read"
    ? Result.match(tensorBody.read(message.body, message.length), {
      onFailure: refused,
      onSuccess: (request): FromThread => ({ _tag: "Tensors", request })
    })
    : Result.match(tensorBody.write(message.asked, message.inferred), {
      onFailure: refused,
      onSuccess: (written): FromThread => ({ _tag: "Written", ...written })
    })

/** What the main thread gets without a copy: tensors are made one by one, and large buffers are no part of Node's pool. */
const buffersOf = (message: FromThread): Array<ArrayBuffer> => {
  const views = message._tag === "Tensors"
    ? Object.values(message.request.inputs).map(({ data }) => data)
    : message._tag === "Written"
    ? [message.body]
    : []
  return views.flatMap((data) =>
    ArrayBuffer.isView(data) && data.buffer instanceof ArrayBuffer && data.byteLength === data.buffer.byteLength
      ? [data.buffer]
      : []
  )
}

parentPort?.on("message", (message: ToThread) => {
  const answered = answer(message)
  parentPort?.postMessage(answered, buffersOf(answered))
})
