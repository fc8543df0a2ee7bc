/**
 * A thread that reads and writes bodies with large tensors, which would stop all other calls meanwhile. It begins with the first such body, and
 * does one after the other; those that wait are bounded by the memory that is reserved for bodies.
 */
import type * as OpenInference from "@ballast/inference/OpenInference"
import * as Tensor from "@ballast/inference/Tensor"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import { Worker } from "node:worker_threads"
import { Rejection } from "../Rejection.ts"
import type { Written } from "./tensorBody.ts"
import type { FromThread, ToThread } from "./tensorWorker.ts"

/** Bytes of JSON that are read in the main thread: 5,000 to 30,000 numbers, about a millisecond. */
export const mostBytes = 65_536

/** Elements that are written as JSON in the main thread, one to a few milliseconds. */
export const mostElements = 4_096

export interface TensorThread {
  readonly read: (body: Uint8Array, length: number) => Effect.Effect<OpenInference.Request, Rejection>
  readonly write: (
    asked: OpenInference.Request,
    inferred: OpenInference.Inferred
  ) => Effect.Effect<Written, Rejection>
}

// The sources run as they are, and as the JavaScript that is built of them.
const program = new URL(`./tensorWorker.${import.meta.url.endsWith(".ts") ? "ts" : "js"}`, import.meta.url)

const ended = new Rejection({ case: "LocalModelFailed", detail: "The thread that reads and writes tensors ended." })

/** What stands for a message: made when its turn comes, since that copies what is given away. */
type Make = () => { readonly message: ToThread; readonly buffers: Array<ArrayBuffer> }

const reading = (body: Uint8Array, length: number): Make => () => {
  const copy = new Uint8Array(body)
  return { message: { _tag: "Read", body: copy, length }, buffers: [copy.buffer] }
}

const writing = (asked: OpenInference.Request, { model, outputs, version }: OpenInference.Inferred): Make => () => {
  const copies: Record<string, Tensor.Tensor> = {}
  for (const [name, tensor] of Object.entries(outputs)) copies[name] = Tensor.clone(tensor)
  const buffers = Object.values(copies).flatMap(({ data }) =>
    ArrayBuffer.isView(data) && data.buffer instanceof ArrayBuffer ? [data.buffer] : []
  )
  return {
    message: { _tag: "Write", asked: { ...asked, inputs: {} }, inferred: { model, version, outputs: copies } },
    buffers
  }
}

/** The thread lives until the scope closes. */
export const make = Effect.fnUntraced(function*(): Effect.fn.Return<TensorThread, never, Scope.Scope> {
  const turn = yield* Semaphore.make(1)
  let running: Worker | undefined
  let answer: ((message: FromThread | undefined) => void) | undefined

  const begin = (): Worker => {
    const worker = new Worker(program, { execArgv: [] })
    const end = () => {
      // An error comes before the exit, and then another thread may have begun.
      if (running !== worker) return
      running = undefined
      answer?.(undefined)
    }
    worker.on("message", (message: FromThread) => answer?.(message))
    worker.on("error", end)
    worker.on("exit", end)
    return running = worker
  }
  yield* Effect.addFinalizer(() => Effect.promise(async () => running?.terminate()))

  /** Once its turn has come it goes on, even when its client has left, so that no more than one body is in the thread. */
  const ask = (make: Make) =>
    turn.withPermit(Effect.uninterruptible(Effect.callback<FromThread, Rejection>((resume) => {
      answer = (message) => {
        answer = undefined
        resume(message === undefined ? Effect.fail(ended) : Effect.succeed(message))
      }
      const { buffers, message } = make()
      ;(running ?? begin()).postMessage(message, buffers)
    }))).pipe(
      Effect.flatMap((message) =>
        message._tag === "Problem" ? Effect.fail(new Rejection(message.problem)) : Effect.succeed(message)
      )
    )

  return {
    read: (body, length) =>
      Effect.flatMap(
        ask(reading(body, length)),
        (message) => message._tag === "Tensors" ? Effect.succeed(message.request) : Effect.fail(ended)
      ),
    write: (asked, inferred) =>
      Effect.flatMap(
        ask(writing(asked, inferred)),
        (message) => message._tag === "Written" ? Effect.succeed(message) : Effect.fail(ended)
      )
  }
})
