/**
 * Reading text in images, by the detection and recognition models of PaddleOCR.
 *
 * The input is `image`, pixels of one image [height, width, channels]. The outputs are a row for each text that was found, from top to bottom:
 * `text`, `confidence` from 0 to 1, and `box` with left, top, width and height in pixels.
 */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import type { InferenceSession } from "onnxruntime-node"
import { type Loaded, sessionOptions } from "./loaded.ts"
import { Told } from "./told.ts"

/** Both models read blanks, too, which the list of characters leaves out. */
const charactersOf = (
  folder: string
): Array<string> => [...readFileSync(join(folder, "keys.txt"), "utf8").trimEnd().split(/\r?\n/), " "]

const bytesOf = (folder: string, file: string): ArrayBuffer => new Uint8Array(readFileSync(join(folder, file))).buffer

export const load = async (folder: string, provider: string): Promise<Loaded> => {
  const ort = await import("onnxruntime-node")
  const { PaddleOcrService } = await import("paddleocr").catch(() => {
    throw new Told("the task ocr needs the package paddleocr, which is not installed")
  })
  const sessions: Array<InferenceSession> = []
  const create = async (bytes: ArrayBuffer) => {
    const session = await ort.InferenceSession.create(bytes, sessionOptions(provider))
    sessions.push(session)
    const { inputNames, outputNames } = session
    return { inputNames, outputNames, run: (feeds: InferenceSession.FeedsType) => session.run(feeds) }
  }
  const service = await PaddleOcrService.createInstance({
    ort: { Tensor: ort.Tensor, InferenceSession: { create } },
    detection: { modelBuffer: bytesOf(folder, "detection.onnx"), channelOrder: "bgr" },
    recognition: {
      modelBuffer: bytesOf(folder, "recognition.onnx"),
      channelOrder: "bgr",
      charactersDictionary: charactersOf(folder)
    }
  })
  return {
    inputs: [{ name: "image", type: "uint8", shape: ["height", "width", "channels"] }],
    outputs: [
      { name: "text", type: "string", shape: ["texts"] },
      { name: "confidence", type: "float32", shape: ["texts"] },
      { name: "box", type: "int32", shape: ["texts", 4] }
    ],
    run: async ({ image }, fetches) => {
      const [height = 0, width = 0, channels = 0] = image?.dims ?? []
      if (!(image?.data instanceof Uint8Array) || ![1, 3, 4].includes(channels) || height * width === 0) {
        throw new Told(`an image has a width, a height and 1, 3 or 4 channels; got [${height}, ${width}, ${channels}]`)
      }
      const { lines } = service.processRecognition(await service.recognize({ data: image.data, height, width }))
      const found = lines.flat()
      const boxes = found.flatMap(({ box }) => [box.x, box.y, box.width, box.height].map(Math.round))
      const all = {
        text: { type: "string", dims: [found.length], data: found.map(({ text }) => text) },
        confidence: {
          type: "float32",
          dims: [found.length],
          data: Float32Array.from(found, ({ confidence }) => confidence)
        },
        box: { type: "int32", dims: [found.length, 4], data: Int32Array.from(boxes) }
      }
      return Object.fromEntries(Object.entries(all).filter(([name]) => fetches.includes(name)))
    },
    release: async () => {
      for (const session of sessions) await session.release()
    }
  }
}
