/**
 * Reads the text of an image, in a worker thread: loading the models and each run of them block the thread that they are in.
 */
import { NodeWorker } from "@effect/platform-node"
import { Context, Effect, Layer, Schema } from "effect"
import { Rpc, RpcClient, RpcGroup } from "effect/rpc"
import { Worker } from "node:worker_threads"

/** A piece of text as it was found; pieces on one height are one line. */
export const Piece = Schema.Struct({
  text: Schema.String,
  /** How sure the model is of it, 0 to 1. */
  confidence: Schema.Finite
})

export type Piece = typeof Piece.Type

/** Lines from top to bottom, each from left to right. */
export const Lines = Schema.Array(Schema.Array(Piece))

/** The image can not be read. */
export class OcrError extends Schema.TaggedError<OcrError>()("OcrError", { detail: Schema.String }) {
  override get message() {
    return this.detail
  }
}

/** What the worker is asked: the bytes of an image file. */
export const Requests = RpcGroup.make(
  Rpc.make("read", { payload: { image: Schema.Uint8Array }, success: Lines, error: OcrError })
)

export class Ocr extends Context.Service<Ocr, {
  readonly read: (image: Uint8Array) => Effect.Effect<typeof Lines.Type, OcrError>
}>()("invoice-processing/Ocr") {}

/** One worker, which reads one image after the other; it ends when the layer's scope does. */
export const layer = Layer.effect(
  Ocr,
  Effect.map(RpcClient.make(Requests), (client) =>
    Ocr.of({
      read: (image) =>
        Effect.mapError(
          client.read({ image }),
          (error) => error._tag === "OcrError" ? error : new OcrError({ detail: "the worker is gone" })
        )
    }))
).pipe(
  Layer.provide(RpcClient.layerProtocolWorker({ size: 1, concurrency: 1 })),
  Layer.provide(NodeWorker.layer(() => new Worker(new URL("ocrWorker.ts", import.meta.url))))
)
