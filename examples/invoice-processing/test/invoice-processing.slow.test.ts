import { DeepSeek } from "@ballast/deepseek"
import { Simulator } from "@ballast/simulator"
import { Definition, Engine, Runner, Service } from "@ballast/workflow"
import { assert, describe, it, layer } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { execFile } from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { draw } from "../src/draw.ts"
import { fields } from "../src/Invoice.ts"
import * as Ocr from "../src/Ocr.ts"
import { processScans } from "../src/process.ts"
import { samples } from "../src/samples.ts"
import * as Score from "../src/score.ts"
import * as Services from "../src/services.ts"
import { simulatedReader } from "../src/simulatedReader.ts"

const root = Path.resolve(import.meta.dirname, "..")

const Model = DeepSeek.layer({ apiKey: Redacted.make("sk-simulated") }).pipe(
  Layer.provide(
    Simulator.layerHttpClient({ reply: simulatedReader, latency: 0, timeToFirstToken: 0, tokensPerSecond: Infinity })
  )
)

const temporary = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "invoices-"))),
  (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true }))
)

/** The scans of the named samples. */
const drawn = Effect.fnUntraced(function*(...names: ReadonlyArray<string>) {
  const folder = yield* temporary
  const chosen = samples.filter(({ name }) => names.includes(name))
  const scans = yield* Effect.promise(() => draw(chosen))
  return chosen.map((sample, index) => {
    const file = Path.join(folder, `${sample.name}.jpg`)
    Fs.writeFileSync(file, scans[index] ?? "")
    return { sample, file, id: sample.name }
  })
})

layer(Layer.merge(Model, Ocr.layer))("invoice processing", (it) => {
  it.effect("reads clean invoices wholly right, and counts what it reads", () =>
    Effect.gen(function*() {
      const set = yield* drawn("en-clean-small", "en-clean-large", "zh-clean-small", "zh-clean-large", "en-hard")
      const folder = yield* temporary
      const processed = yield* processScans(set, {
        workflow: Path.join(root, "invoice.yaml"),
        reports: folder,
        model: yield* DeepSeek.DeepSeek,
        decide: ({ run }) => Effect.succeed({ approved: run.startsWith("zh"), by: "test" })
      })
      let right = 0
      for (const [index, { sample }] of set.entries()) {
        const invoice = processed[index]?.invoice
        const wrong = fields.filter((field) => invoice?.[field] !== sample.invoice[field])
        right += fields.length - wrong.length
        if (sample.name.includes("clean")) assert.deepStrictEqual(wrong, [], sample.name)
      }
      const scores = set.map(({ sample }, index) => Score.score(sample, processed[index]?.invoice))
      assert.include(Score.total(scores), `Read right: ${right} of 40 fields`)

      const reports = set.map(({ id }) => Path.join(folder, `${id}.html`))
      assert.deepStrictEqual(
        processed.map(({ result }) => result._tag === "Success" ? result.success : result.failure),
        // Small ones need no approval; the others were decided by their name.
        set.map(({ id }, index) => ({ pay: id.includes("small") || id.startsWith("zh"), report: reports[index] }))
      )
      const page = Fs.readFileSync(reports[3] ?? "", "utf8")
      assert.match(page, /Approved\s+by test/)
      assert.match(page, /深圳蓝海电子科技有限公司.*data:image\/jpeg;base64,.*80400 \+ 10452.*<svg/s)
    }))

  describe("the file of three steps", () => {
    const text = Fs.readFileSync(Path.join(root, "invoice_processing.yaml"), "utf8")

    /** Runs it over a scan, with one of the services changed. */
    const run = Effect.fnUntraced(function*(
      name: string,
      change: (services: Readonly<Record<string, Service.Service>>) => Readonly<Record<string, Service.Service>> =
        () => ({})
    ) {
      const [scan] = yield* drawn(name)
      const made = Services.make({ ocr: yield* Ocr.Ocr, model: yield* DeepSeek.DeepSeek, onRead: () => {} })
      const services = { ...made, ...change(made) }
      const definition = yield* Definition.read({ name: "invoice_processing.yaml", text, services })
      return yield* Runner.Runner.pipe(
        Effect.flatMap(({ run }) => run(definition, { file: scan?.file ?? "" }, { id: "1" })),
        Effect.provide(Runner.layer({ services }).pipe(Layer.provide(Engine.layerMemory)))
      )
    })

    it.effect("is the one of the documentation", () =>
      Effect.sync(() => {
        const page = Fs.readFileSync(Path.join(root, "../../docs/workflows.md"), "utf8")
        assert.include(page, `\`\`\`yaml\n${text}\`\`\``)
      }))

    it.effect("judges an amount over 1,000, and skips one under it", () =>
      Effect.gen(function*() {
        assert.isNull(yield* run("en-clean-small"))
        assert.propertyVal(yield* run("zh-clean-large"), "passed", true)
      }))

    it.effect("fails when enhancing takes 6 seconds", () =>
      Effect.gen(function*() {
        const called = yield* Deferred.make<void>()
        const slow: Service.Service = {
          call: () => Deferred.succeed(called, undefined).pipe(Effect.andThen(Effect.sleep("6 seconds")))
        }
        const fiber = yield* Effect.forkChild(Effect.flip(run("en-clean-small", () => ({ image_enhancement: slow }))))
        yield* Deferred.await(called)
        yield* TestClock.adjust("5 seconds")
        assert.propertyVal(yield* Fiber.join(fiber), "step", "image_enhancement")
      }))

    /** A service that fails at its first calls; each time it says so. */
    const failing = (self: Service.Service, failures: Array<Deferred.Deferred<void>>): Service.Service => {
      const left = [...failures]
      return {
        ...self,
        call: (input, context) => {
          const failure = left.shift()
          return failure === undefined
            ? self.call(input, context)
            : Effect.andThen(
              Deferred.succeed(failure, undefined),
              Effect.fail(new Service.ServiceError({ detail: "busy", retryable: true }))
            )
        }
      }
    }

    for (const times of [2, 3]) {
      it.effect(`${times === 2 ? "goes on" : "fails"} when reading fails ${times} times`, () =>
        Effect.gen(function*() {
          const failures = yield* Effect.all(Array.from({ length: times }, () => Deferred.make<void>()))
          const fiber = yield* Effect.forkChild(Effect.result(run("zh-clean-large", ({ ocr_extraction }) =>
            ocr_extraction === undefined ? {} : { ocr_extraction: failing(ocr_extraction, failures) })))
          for (const failure of failures) {
            yield* Deferred.await(failure)
            yield* TestClock.adjust("1 minute")
          }
          const result = yield* Fiber.join(fiber)
          if (times === 2) {
            assert.propertyVal(result, "_tag", "Success")
          } else assert.nestedPropertyVal(result, "failure.step", "ocr_extraction")
        }))
    }
  })
})

describe("the program", () => {
  it.live("is one command, which says who decided", () =>
    Effect.gen(function*() {
      const folder = yield* temporary
      const { DEEPSEEK_API_KEY: _, ...env } = process.env
      const args = ["src/main.ts", "--only", "zh-clean-large", "--out", folder]
      const { error, stdout } = yield* Effect.callback<{ readonly error: Error | null; readonly stdout: string }>(
        (resume) => {
          const program = execFile(
            process.execPath,
            args,
            { cwd: root, env },
            (error, stdout) => resume(Effect.succeed({ error, stdout }))
          )
          program.stdin?.end()
        }
      )
      assert.isNull(error)
      assert.match(stdout, /^The simulator answers/)
      assert.match(stdout, /Rejected by policy: there is no terminal to ask a person\.\n/)
      assert.match(stdout, /\nRead right: 8 of 8 fields \(100\.0 %\)\.\n$/)
      assert.isTrue(Fs.existsSync(Path.join(folder, "zh-clean-large.html")))
    }))
})
