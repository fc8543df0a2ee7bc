/**
 * What `model.yaml` says about a model. Every setting has a default, so a model needs no such file.
 *
 * ```yaml
 * task: classify
 * labels: [ calm, busy, jammed ]
 * batching: { maxSize: 32 }
 * golden:
 *   - inputs: { x: [[0.1, 0.2, 0.3]] }
 *     outputs: { y: [[0.9, 0.05, 0.05]] }
 * ```
 *
 * @since 0.1.0
 */
import * as Document from "@ballast/settings/Document"
import * as Field from "@ballast/settings/Field"
import type { SettingsRefused } from "@ballast/settings/SettingsRefused"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

const between = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

/**
 * The schema of the SHA-256 of each file of a version, by the file's name.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Hashes = Schema.Record(
  Schema.String,
  Schema.String.check(
    Schema.makeFilter((text) => /^[0-9a-f]{64}$/.test(text), { expected: "64 hexadecimal digits, in lower case" })
  )
)

/**
 * The schema of an input with the outputs that must come.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Golden = Schema.Struct({
  inputs: Schema.Record(Schema.String, Schema.Unknown).annotate({
    description: "Each input as nested lists, one level for each dimension."
  }),
  outputs: Schema.Record(Schema.String, Schema.Unknown).annotate({
    description: "The outputs that must come, likewise. Outputs that are left out are not compared."
  }),
  tolerance: Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0)).pipe(Field.withDefault(1e-4)).annotate({
    description: "The greatest difference of a number that is allowed."
  })
})

const Batching = Schema.Struct({
  maxSize: between(2, 4096).annotate({ description: "Rows of a batch, which are rows of the first dimension." }),
  delay: Field.duration({ maximum: "1s" }).pipe(Field.withDefault("0ms")).annotate({
    description: "How long an idle session waits for a full batch. Calls batch while sessions are busy in any case."
  })
})

const Breaker = Schema.Struct({
  failures: between(1, 1_000_000).annotate({ description: "Calls in a row that fail before it opens." }),
  openFor: Field.duration({ minimum: "1ms", maximum: "1h" }).pipe(Field.withDefault("10s")).annotate({
    description: "How long calls are refused, until one is let through to try."
  })
})

/**
 * The schema of `model.yaml`.
 *
 * @category schemas
 * @since 0.1.0
 */
export const ModelSettings = Schema.Struct({
  task: Schema.Literals(["tensors", "embedding", "classify", "ocr"]).pipe(Field.withDefault("tensors")).annotate({
    description: "What the model is for. All tasks take and give tensors, too."
  }),
  labels: Schema.optionalKey(
    Schema.Array(Schema.NonEmptyString).check(Schema.isNonEmpty())
  ).annotate({
    description: "For classify: the names of the classes, in the order of the output."
  }),
  softmax: Schema.Boolean.pipe(Field.withDefault(false)).annotate({
    description: "For classify: whether the output holds logits, which softmax makes to probabilities."
  }),
  pooling: Schema.Literals(["none", "mean", "first"]).pipe(Field.withDefault("none")).annotate({
    description:
      "For embedding: how the vectors of tokens become one. mean leaves out padding; first takes that of the first token."
  }),
  normalize: Schema.Boolean.pipe(Field.withDefault(false)).annotate({
    description: "For embedding: whether vectors get the length 1."
  }),
  maxTokens: between(1, 32_768).pipe(Field.withDefault(512)).annotate({
    description: "For models that read text by a tokenizer: tokens of a text that are read. The rest is cut off."
  }),
  shapes: Schema.Record(Schema.String, Schema.Array(between(-1, 2 ** 31 - 1))).pipe(Field.withDefault({})).annotate({
    description: "Shapes of inputs that are narrower than the file's, such as x: [-1, 3, 48, 320]. -1 is any size."
  }),
  batching: Schema.optionalKey(Batching).annotate({
    description: "Runs several calls at once. Every input and output must have the batch as its first dimension."
  }),
  queue: between(0, 100_000).pipe(Field.withDefault(256)).annotate({
    description: "Calls that may wait for a session."
  }),
  deadline: Field.duration({ minimum: "1ms", maximum: "1h" }).pipe(Field.withDefault("30s")).annotate({
    description: "The longest time of a call with its wait."
  }),
  maxBytes: Field.byteSize({ minimum: "1kB", maximum: "1GiB" }).pipe(Field.withDefault("64MiB")).annotate({
    description: "The largest input, and the most that the outputs of a run may have."
  }),
  breaker: Schema.optionalKey(Breaker).annotate({
    description: "A circuit breaker: refuses calls at once after failures in a row. Default: none."
  }),
  runtime: Schema.Literals(["worker", "process"]).pipe(Field.withDefault("worker")).annotate({
    description: "Where sessions run. Only a process is ended when it passes the deadline, and may crash alone."
  }),
  instances: Schema.optionalKey(between(1, 64)).annotate({
    description: "Sessions, each with one thread and weights of its own. Default: as many as cores, at most 4."
  }),
  provider: Schema.NonEmptyString.pipe(Field.withDefault("cpu")).annotate({
    description: "The execution provider of the runtime: cpu, cuda, coreml, dml."
  }),
  canary: Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 100 })).pipe(Field.withDefault(100)).annotate({
    description: "The share of the calls that a new version gets at first. 0 loads it without calls.",
    unit: "percent"
  }),
  sha256: Schema.optionalKey(Hashes).annotate({
    description: "The hash that each file of a version must have, by the file's name: all but model.yaml."
  }),
  golden: Schema.Array(Golden).check(Schema.isMaxLength(100)).pipe(Field.withDefault([])).annotate({
    description: "Inputs with the outputs that must come, before a version takes calls."
  })
})

/**
 * Settings of a model, as they were read.
 *
 * @category models
 * @since 0.1.0
 */
export type ModelSettings = typeof ModelSettings.Type

/**
 * Reads `model.yaml`. Fails with all its mistakes, each with line and column. `name` names the file in them.
 *
 * @category parsing
 * @since 0.1.0
 */
export const read = (file: {
  readonly name: string
  readonly text: string
}): Effect.Effect<ModelSettings, SettingsRefused> =>
  Effect.map(Document.decode(ModelSettings, file), ({ value }) => value)
