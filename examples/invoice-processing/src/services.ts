/** What the steps of `invoice.yaml` and `invoice_processing.yaml` call. They pass on paths of files, but for those of the page. */
import type { ChatModel } from "@ballast/chat/ChatModel"
import { Outcome } from "@ballast/resilience"
import { Service } from "@ballast/workflow"
import { Effect, Exit, Schema } from "effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import sharp from "sharp"
import { check, sure } from "./compliance.ts"
import { enhance } from "./enhance.ts"
import { extract, Extracted } from "./extract.ts"
import type { Ocr } from "./Ocr.ts"

export interface Parts {
  readonly ocr: Ocr["Service"]
  readonly model: ChatModel<unknown>
  /** Is told what was read from the scan of a run. */
  readonly onRead: (run: string, invoice: Extracted) => void
}

const Picture = Schema.Struct({ file: Schema.NonEmptyString })

/** Nothing gets better by another try: the file stays what it is. */
const lost = (detail: string) => new Service.ServiceError({ detail, retryable: false })

const decode = <S extends Schema.Constraint & { readonly DecodingServices: never }>(schema: S, input: unknown) =>
  Effect.mapError(Schema.decodeUnknownEffect(schema)(input), ({ message }) => lost(`its input is wrong: ${message}`))

const tried = <A>(what: string, run: () => Promise<A>) =>
  Effect.tryPromise({
    try: run,
    catch: (error) => lost(`${what}: ${error instanceof Error ? error.message : String(error)}`)
  })

const read = (file: string) => tried(`${file} can not be read`, () => Fs.readFile(file))

/** Where a file that is made from another one is put: beside it. */
const beside = (file: string, name: string) => Path.join(Path.dirname(file), `${Path.parse(file).name}.${name}`)

const enhancement: Service.Service = {
  output: { file: "string", turned: "double" },
  call: Effect.fnUntraced(function*(input) {
    const { file } = yield* decode(Picture, input)
    const scan = yield* read(file)
    const { image, turned } = yield* tried(`${file} is no picture`, () => enhance(scan))
    const enhanced = beside(file, "enhanced.jpg")
    yield* tried(`${enhanced} can not be written`, () => Fs.writeFile(enhanced, image))
    return { file: enhanced, turned }
  })
}

const extraction = ({ model, ocr, onRead }: Parts): Service.Service => ({
  output: {
    number: "string",
    date: "string",
    seller: "string",
    buyer: "string",
    currency: "string",
    net: "double",
    tax: "double",
    amount: "double",
    confidence: "map"
  },
  call: Effect.fnUntraced(function*(input, { report, runId }) {
    const { file } = yield* decode(Picture, input)
    const image = yield* read(file)
    const lines = yield* Effect.mapError(ocr.read(image), ({ detail }) => lost(`${file}: ${detail}`))
    const { usage, ...invoice } = yield* Effect.mapError(extract(model, lines), (error) => {
      const outcome = Outcome.classify(Exit.fail(error))
      return new Service.ServiceError({
        detail: error instanceof Error ? error.message : "the model's call failed",
        retryable: outcome._tag === "Failure" && outcome.retryable
      })
    })
    yield* report({ promptTokens: usage?.prompt_tokens ?? 0, completionTokens: usage?.completion_tokens ?? 0 })
    onRead(runId, invoice)
    return invoice
  })
})

const compliance: Service.Service = {
  output: { passed: "bool", findings: "list", sure: "double" },
  call: Effect.fnUntraced(function*(input) {
    const findings = check(yield* decode(Extracted, input))
    return { passed: findings.every(({ kept }) => kept), findings, sure }
  })
}

const Pictures = Schema.Record(Schema.String, Schema.NonEmptyString)

/** As large as a page shows it. */
const small = async (image: Uint8Array): Promise<string> => {
  const bytes = await sharp(image).resize({ width: 1000, withoutEnlargement: true }).jpeg({ quality: 75 }).toBuffer()
  return `data:image/jpeg;base64,${bytes.toString("base64")}`
}

/** Pictures in a page have no files beside it. */
const pictures: Service.Service = {
  output: { scan: "string", enhanced: "string" },
  call: Effect.fnUntraced(function*(input) {
    return yield* Effect.forEach(
      Object.entries(yield* decode(Pictures, input)),
      ([name, file]) =>
        Effect.flatMap(
          read(file),
          (image) => Effect.map(tried(`${file} is no picture`, () => small(image)), (url) => [name, url] as const)
        )
    ).pipe(Effect.map(Object.fromEntries))
  })
}

export const make = (parts: Parts): Readonly<Record<string, Service.Service>> => ({
  image_enhancement: enhancement,
  ocr_extraction: extraction(parts),
  compliance_check: compliance,
  pictures
})
