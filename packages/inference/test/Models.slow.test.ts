import { assert, describe, it } from "@effect/vitest"
import { Effect, Logger, Result } from "effect"
import { createHash } from "node:crypto"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { folder, golden, heavy, pick, reached, row, scale, serve, unknownOperator, vectors, write } from "./fixtures.ts"
import { quiet } from "./quiet.ts"

const x = row(1, 2, 3, 4)

const sha256 = (content: string | Uint8Array) => createHash("sha256").update(content).digest("hex")

const told = <A, E extends { readonly reason: string; readonly message: string }, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(
    Effect.result(effect),
    (result) => Result.isFailure(result) ? `${result.failure.reason}: ${result.failure.message}` : "succeeded"
  )

describe("Models", () => {
  describe("a folder", () => {
    it.live("tells of models that lie where none is looked for", () =>
      Effect.gen(function*() {
        const path = yield* folder
        const log: Array<string> = []
        const logger = Logger.layer([Logger.make(({ message }) => void log.push(String(message)))])
        Fs.writeFileSync(Path.join(path, "alone.onnx"), scale(2))
        Fs.mkdirSync(Path.join(path, "flat"))
        Fs.writeFileSync(Path.join(path, "flat", "model.onnx"), scale(2))
        write(path, "my model", "1", { model: scale(2) })
        write(path, ".hidden", "1", { model: scale(2) })
        const models = yield* Effect.provide(serve({ folder: path }), logger)
        assert.deepStrictEqual(yield* models.list, [])
        assert.deepStrictEqual(log.map((line) => line.slice(0, 50)), [
          "alone.onnx is skipped: a model is a file <name>/<v",
          "flat is skipped: it has no version; its files belo",
          "the folder \"my model\" is skipped: the name of a mo"
        ])
      }))
  })

  describe("a version that is not fit", () => {
    quiet("takes no calls, and says why", () =>
      Effect.gen(function*() {
        const path = yield* folder
        const whole = scale(2)
        const add = (name: string, model: Uint8Array | undefined, yaml = golden(2)) =>
          write(path, name, "1", { ...(model && { model }), yaml })
        add("cut", whole.slice(0, 60))
        add("junk", new TextEncoder().encode("hello"))
        add("empty", new Uint8Array())
        add("absent", undefined)
        add("operator", unknownOperator())
        add("hash", whole, golden(2, `sha256: { model.onnx: "${"f".repeat(64)}" }`))
        write(path, "unnamed", "1", {
          model: whole,
          yaml: `sha256: { model.onnx: "${sha256(whole)}" }`,
          more: { "vocabulary.txt": "a" }
        })
        add("disagrees", whole, golden(3))
        add("nan", scale(NaN))
        add("shape", whole, "golden: [{ inputs: { x: [[1, 2, 3, 4]] }, outputs: { y: [[2, 4]] } }]")
        add("input", whole, "golden: [{ inputs: { x: [[1, 2]] }, outputs: {} }]")
        add("narrower", whole, golden(2, "shapes: { x: [-1, 5] }"))
        add("fixed", scale(2, 4, 1), golden(2, "batching: { maxSize: 4 }"))
        add("ragged", whole, "golden: [{ inputs: { x: [[1, 2], [3]] }, outputs: {} }]")
        write(path, "beyond", "1", { model: pick(), yaml: "golden: [{ inputs: { i: [0.5] }, outputs: {} }]" })
        add("labels", whole, "task: classify\nlabels: [calm, busy]")
        add("pooling", whole, "task: embedding\npooling: mean")
        add("provider", whole, "provider: tpu")
        add("file", whole, `sha256: { ../model.yaml: "${"f".repeat(64)}" }`)
        write(path, "tokenizer", "1", { model: vectors(), yaml: "task: embedding", more: { "tokenizer.json": "{" } })
        add("yaml", whole, "task: classify\ninstances: none\n")
        add("digits", whole, "sha256: { model.onnx: abc }")

        const models = yield* serve({ folder: path })
        const names = Fs.readdirSync(path)
        const reasons: Record<string, string | undefined> = {}
        for (const name of names) reasons[name] = (yield* reached(models, name, "1", "failed"))?.reason
        assert.deepStrictEqual(reasons, {
          cut: "the file is no ONNX model, or is cut off",
          junk: "the file is no ONNX model, or is cut off",
          empty: "model.onnx is empty",
          absent: "it has no file model.onnx",
          ragged: "golden x: it is nested, and its arrays of dimension 1 do not all have the 2 elements of [2, 2]",
          beyond:
            "golden i: element 0 is 0.5, expected a whole number from -9223372036854775808 to 9223372036854775807",
          labels: "model.yaml has 2 labels, but the output 4 classes",
          pooling: "the task embedding with pooling: mean needs 3 dimensions; the first output y has 2",
          provider: "this runtime does not have the execution provider",
          file: "sha256 names the file ../model.yaml, which is not there",
          tokenizer: "tokenizer.json, or tokenizer_config.json, is no such file of Hugging Face",
          operator: "the model has the operator Frobnicate, which this runtime does not have",
          hash: `the SHA-256 of model.onnx is ${sha256(whole)}, expected ${"f".repeat(64)}`,
          unnamed: "sha256 does not name vocabulary.txt; it names every file of a version",
          disagrees: "golden input 1: y differs by 4; at most 0.0001 is allowed",
          nan: "golden input 1: y is not a number (NaN)",
          shape: "golden input 1: y has the shape [1, 4], expected [1, 2]",
          input: "golden input 1: x: the shape is [1, 2], expected [-1, 4] (-1 is any size)",
          narrower: "model.yaml gives x the shape [-1, 5], which does not fit [-1, 4] of the file",
          fixed: "batching needs a first dimension that varies; x has the shape [1, 4]",
          yaml: "yaml/1/model.yaml:2:12: instances: found \"none\", expected a whole number from 1 to 64",
          digits:
            "digits/1/model.yaml:1:23: sha256.model.onnx: found \"abc\", expected 64 hexadecimal digits, in lower case"
        })
        assert.strictEqual(
          yield* told(models.infer("nan", undefined, { inputs: { x } })),
          "NotReady: nan: no version of it takes calls; 1: golden input 1: y is not a number (NaN)"
        )
        assert.strictEqual(
          yield* told(models.infer("nan", "1", { inputs: { x } })),
          "NotReady: nan 1: golden input 1: y is not a number (NaN)"
        )
      }))

    quiet("leaves the calls to the version before, and may be mended", () =>
      Effect.gen(function*() {
        const path = yield* folder
        write(path, "m", "1", { model: scale(1), yaml: golden(1) })
        const models = yield* serve({ folder: path })
        yield* reached(models, "m", "1", "ready")
        write(path, "m", "2", { model: scale(2).slice(0, 60), yaml: golden(2) })
        yield* reached(models, "m", "2", "failed")
        assert.strictEqual((yield* models.infer("m", undefined, { inputs: { x } })).version, "1")
        assert.strictEqual(
          yield* told(models.setTraffic("m", { 2: 1 })),
          "Refused: m 2: the file is no ONNX model, or is cut off"
        )
        write(path, "m", "2", { model: scale(2) })
        yield* reached(models, "m", "2", "ready")
        yield* reached(models, "m", "1", "unloaded")
        assert.deepStrictEqual(yield* models.infer("m", undefined, { inputs: { x } }), {
          model: "m",
          version: "2",
          outputs: { y: row(2, 4, 6, 8) }
        })
      }))
  })

  describe("inputs that do not fit", () => {
    quiet("are refused before a run, and count for nothing", () =>
      Effect.gen(function*() {
        const path = yield* folder
        write(path, "m", "1", { model: scale(2), yaml: golden(2, "batching: { maxSize: 2 }\nmaxBytes: 1kB") })
        write(path, "pick", "1", { model: pick(), yaml: "instances: 1" })
        const models = yield* serve({ folder: path })
        const infer = (inputs: Record<string, typeof x>, outputs?: ReadonlyArray<string>) =>
          told(models.infer("m", undefined, { inputs, outputs }))
        assert.strictEqual(yield* infer({}), "InvalidInput: m 1: x: the input is missing")
        assert.strictEqual(
          yield* infer({ x, z: x }),
          "InvalidInput: m 1: z: the model has no such input; it has x"
        )
        assert.strictEqual(
          yield* infer({ x: row(1) }),
          "InvalidInput: m 1: x: the shape is [1, 1], expected [-1, 4] (-1 is any size)"
        )
        assert.strictEqual(
          yield* infer({ x: { datatype: "FP64", shape: [1, 4], data: new Float64Array(4) } }),
          "InvalidInput: m 1: x: the datatype is FP64, expected FP32"
        )
        assert.strictEqual(yield* infer({ x }, ["q"]), "InvalidInput: m 1: q: the model has no such output; it has y")
        assert.strictEqual(
          yield* infer({ x: { datatype: "FP32", shape: [3, 4], data: new Float32Array(12) } }),
          "InvalidInput: m 1: x: it has 3 rows; a call may have at most 2"
        )
        assert.strictEqual(
          yield* told(models.infer("m", "9", { inputs: { x } })),
          "UnknownModel: m 9: there is no such version"
        )
        assert.strictEqual(
          yield* told(models.infer("__proto__", undefined, { inputs: { x } })),
          "UnknownModel: __proto__: there is no such model"
        )
        assert.strictEqual(
          yield* told(models.infer("pick", undefined, {
            inputs: { i: { datatype: "INT64", shape: [1], data: new BigInt64Array([9n]) } }
          })),
          "ModelFailed: pick 1: the run failed in a node of the type Gather"
        )
        const list = yield* models.list
        assert.deepStrictEqual(list.map(({ calls, errors, name }) => [name, calls, errors]), [["m", 0, 0], [
          "pick",
          1,
          1
        ]])
      }))
  })

  describe("traffic", () => {
    quiet("goes to a new version by its canary's share, and back by one call", () =>
      Effect.gen(function*() {
        const path = yield* folder
        const versions = Effect.gen(function*() {
          const list = yield* models.list
          return list.map(({ state, version, weight }) => [version, state, weight])
        })
        write(path, "m", "9", { model: scale(9), yaml: golden(9) })
        const models = yield* serve({ folder: path })
        yield* reached(models, "m", "9", "ready")
        write(path, "m", "10", { model: scale(10), yaml: golden(10, "canary: 25") })
        yield* reached(models, "m", "10", "ready")
        assert.deepStrictEqual(yield* versions, [["10", "ready", 0.25], ["9", "ready", 0.75]])
        const answers = yield* Effect.forEach(Array(200), () => models.infer("m", undefined, { inputs: { x } }))
        const canary = answers.filter(({ version }) => version === "10").length
        assert.isTrue(canary > 10 && canary < 100, `${canary} of 200`)
        for (const { outputs, version } of answers) assert.strictEqual(outputs["y"]?.data[0], Number(version))

        yield* models.setTraffic("m", { 10: 1 })
        yield* reached(models, "m", "9", "unloaded")
        assert.deepStrictEqual(yield* versions, [["10", "ready", 1], ["9", "unloaded", 0]])
        yield* models.setTraffic("m", { 9: 1 })
        assert.strictEqual((yield* models.infer("m", undefined, { inputs: { x } })).version, "9")
        yield* reached(models, "m", "10", "unloaded")
        // A call that names a version loads it.
        assert.strictEqual((yield* models.infer("m", "10", { inputs: { x } })).version, "10")
        assert.match(yield* told(models.setTraffic("m", { 9: -1 })), /^InvalidInput: m: weights: a weight is a finite/)
        assert.match(yield* told(models.setTraffic("m", { 9: 0 })), /^InvalidInput: m: weights: at least one/)
        assert.match(yield* told(models.setTraffic("m", { 11: 1 })), /^UnknownModel/)
      }))

    quiet("starts with the newest version that is fit", () =>
      Effect.gen(function*() {
        const path = yield* folder
        for (const version of ["1", "2", "10"]) {
          write(path, "m", version, { model: scale(Number(version)), yaml: golden(Number(version)) })
        }
        write(path, "m", "11", { model: scale(NaN), yaml: golden(11) })
        const models = yield* serve({ folder: path })
        assert.strictEqual((yield* models.infer("m", undefined, { inputs: { x } })).version, "10")
        const states = (yield* models.list).map(({ state, version }) => [version, state])
        assert.deepStrictEqual(states, [["11", "failed"], ["10", "ready"], ["2", "unloaded"], ["1", "unloaded"]])
      }))

    quiet("gives the calls to a version that appears while the one before it loads", () =>
      Effect.gen(function*() {
        const path = yield* folder
        write(path, "m", "1", { model: scale(1), yaml: golden(1) })
        const models = yield* serve({ folder: path })
        write(path, "m", "2", { model: scale(2), yaml: golden(2) })
        yield* reached(models, "m", "2", "ready")
        yield* reached(models, "m", "1", "unloaded")
        assert.strictEqual((yield* models.infer("m", undefined, { inputs: { x } })).version, "2")
      }))

    quiet("ends with a version whose files are gone", () =>
      Effect.gen(function*() {
        const path = yield* folder
        write(path, "m", "1", { model: scale(1), yaml: golden(1) })
        write(path, "m", "2", { model: scale(NaN), yaml: golden(2) })
        write(path, "m", "3", { model: scale(3), yaml: golden(3) })
        const models = yield* serve({ folder: path })
        yield* reached(models, "m", "3", "ready")
        Fs.rmSync(Path.join(path, "m", "3"), { recursive: true })
        yield* Effect.repeat(models.list, { until: (list) => list.length === 2 })
        // The next one is not fit, and its calls go to the one before it.
        assert.strictEqual((yield* models.infer("m", undefined, { inputs: { x } })).version, "1")
      }))
  })

  quiet("stay while their folder can't be read", () =>
    Effect.gen(function*() {
      const parent = yield* folder
      const path = Path.join(parent, "models")
      write(path, "m", "1", { model: scale(1), yaml: golden(1) })
      const models = yield* serve({ folder: path })
      yield* reached(models, "m", "1", "ready")
      Fs.renameSync(path, `${path}-elsewhere`)
      // Looks at the folder by itself.
      assert.match(yield* told(models.load("other", "1")), /^UnknownModel/)
      assert.strictEqual((yield* models.infer("m", undefined, { inputs: { x } })).version, "1")
      write(`${path}-elsewhere`, "m", "2", { model: scale(2), yaml: golden(2) })
      Fs.renameSync(`${path}-elsewhere`, path)
      yield* reached(models, "m", "2", "ready")
    }))

  describe("loading", () => {
    quiet("takes a version from elsewhere, without calls until told", () =>
      Effect.gen(function*() {
        const [path, other] = [yield* folder, yield* folder]
        write(path, "m", "1", { model: scale(1), yaml: golden(1) })
        write(other, "somewhere", "new", { model: scale(2), yaml: golden(2) })
        const models = yield* serve({ folder: path })
        yield* reached(models, "m", "1", "ready")
        const source = { folder: Path.join(other, "somewhere", "new") }
        const right = { "model.onnx": sha256(scale(2)), "model.yaml": sha256(golden(2)) }
        const wrong = "f".repeat(64)
        for (
          const [sha256, reason] of [
            [{ ...right, "model.onnx": wrong }, /^Refused: m 2: the SHA-256 of model.onnx is /],
            [{ ...right, "model.yaml": wrong }, /^Refused: m 2: the SHA-256 of model.yaml is /],
            [{ "model.onnx": right["model.onnx"] }, /^Refused: m 2: sha256 does not name model.yaml/],
            [{ ...right, "vocabulary.txt": wrong }, /^Refused: m 2: sha256 names the file vocabulary.txt, which is not/]
          ] as const
        ) assert.match(yield* told(models.load("m", "2", { ...source, sha256 })), reason)
        const disagrees = { inputs: { x: [[1, 2, 3, 4]] }, outputs: { y: [[1, 2, 3, 4]] }, tolerance: 0 }
        assert.match(
          yield* told(models.load("m", "2", { ...source, golden: [disagrees] })),
          /^Refused: m 2: golden input \d: y differs by /
        )
        // What was refused can be given up, too.
        yield* models.unload("m", "2")
        assert.deepInclude((yield* models.list)[0], {
          version: "2",
          state: "unloaded",
          reason: "an operator unloaded it"
        })
        const info = yield* models.load("m", "2", { ...source, sha256: right })
        assert.deepStrictEqual([info.state, info.weight], ["ready", 0])
        assert.strictEqual((yield* models.infer("m", undefined, { inputs: { x } })).version, "1")
        yield* models.setTraffic("m", { 1: 1, 2: 1 })
        yield* models.unload("m", "1")
        assert.strictEqual((yield* models.infer("m", undefined, { inputs: { x } })).version, "2")
        assert.strictEqual(
          yield* told(models.infer("m", "1", { inputs: { x } })),
          "NotReady: m 1: an operator unloaded it"
        )
        yield* models.load("m", "1")
        assert.strictEqual((yield* models.infer("m", "1", { inputs: { x } })).version, "1")
        assert.match(yield* told(models.load("../etc", "1")), /^UnknownModel: .*can't be a name/)
        assert.deepStrictEqual(yield* models.metadata("m", "2"), {
          name: "m",
          version: "2",
          versions: ["2", "1"],
          platform: "onnx_onnxv1",
          inputs: [{ name: "x", datatype: "FP32", shape: [-1, 4] }],
          outputs: [{ name: "y", datatype: "FP32", shape: [-1, 4] }]
        })
      }))

    quiet("serves all models of a folder that has more than fit at once", () =>
      Effect.gen(function*() {
        const path = yield* folder
        for (const name of ["a", "b", "c"]) write(path, name, "1", { model: heavy(2), yaml: golden(2) })
        const models = yield* serve({ folder: path, maxBytes: 2.5 * heavy(2).length })
        for (const name of ["a", "b", "c", "a"]) {
          assert.deepStrictEqual(
            (yield* models.infer(name, undefined, { inputs: { x } })).outputs["y"],
            row(2, 4, 6, 8)
          )
        }
      }))

    quiet("keeps within the memory by unloading what was used least recently", () =>
      Effect.gen(function*() {
        const path = yield* folder
        for (const name of ["a", "b", "c"]) write(path, name, "1", { model: scale(1), yaml: golden(1) })
        const size = scale(1).byteLength
        const models = yield* serve({ maxBytes: 2 * size })
        const loaded = Effect.map(models.list, (list) =>
          list.filter(({ state }) => state === "ready").map(({ name }) => name))
        const load = (name: string) =>
          models.load(name, "1", { folder: Path.join(path, name, "1") })
        const call = (name: string) => models.infer(name, undefined, { inputs: { x } })
        yield* load("a")
        yield* load("b")
        yield* call("a")
        yield* load("c")
        assert.deepStrictEqual(yield* loaded, ["a", "c"])
        yield* call("b")
        assert.deepStrictEqual(yield* loaded, ["b", "c"])
        yield* Effect.all([call("a"), call("b")], { concurrency: 2 })
        assert.deepStrictEqual(yield* loaded, ["a", "b"])
        write(path, "big", "1", { model: scale(1), yaml: "instances: 3" })
        assert.match(yield* told(load("big")), /NotReady: big 1: it needs \d+ bytes; all models may take/)
        assert.deepStrictEqual(yield* loaded, ["a", "b"])
      }))
  })
})
