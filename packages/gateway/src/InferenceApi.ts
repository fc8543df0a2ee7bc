/**
 * The part of the admin API that is about local models: which versions there are, and which take calls.
 *
 * @since 0.1.0
 */
import * as ModelSettings from "@ballast/inference/ModelSettings"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as Schema from "effect/Schema"
import { Conflict, UnknownName } from "./internal/adminErrors.ts"

/**
 * A version of a local model.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Version = Schema.Struct({
  version: Schema.String,
  state: Schema.Literals(["loading", "ready", "failed", "draining", "unloaded"]),
  reason: Schema.optionalKey(Schema.String).annotate({ description: "Why it is in this state" }),
  weight: Schema.Finite.annotate({ description: "Its share of the calls that name no version, from 0 to 1" }),
  calls: Schema.Int.annotate({ description: "Calls that ended since the process began, with those that failed" }),
  errors: Schema.Int,
  inFlight: Schema.Int,
  queued: Schema.Int,
  latencySeconds: Schema.Struct({ p50: Schema.Finite, p95: Schema.Finite }).annotate({
    description: "Of its last calls; 0 before the first"
  }),
  bytes: Schema.Int.annotate({ description: "An estimate of the memory that it takes when it is loaded" })
})

/**
 * A local model with its versions, the newest first.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Model = Schema.Struct({ name: Schema.String, versions: Schema.Array(Version) })

const segment = Schema.String.check(Schema.makeFilter((text) => /^[\w.-]{1,128}$/.test(text) && !/^\.+$/.test(text), {
  expected: "a name of 1 to 128 letters, digits, _, . and -"
}))

const params = { name: segment }

/**
 * @category api
 * @since 0.1.0
 */
export const models = HttpApiGroup.make("inference", { topLevel: true }).add(
  HttpApiEndpoint.get("localModels", "/inference/models", { success: Schema.Array(Model) }),
  HttpApiEndpoint.get("localModel", "/inference/models/:name", { params, success: Model, error: UnknownName }),
  HttpApiEndpoint.put("loadVersion", "/inference/models/:name/versions/:version", {
    params: { name: segment, version: segment },
    payload: Schema.Struct({
      source: Schema.optionalKey(Schema.NonEmptyString).annotate({
        description: "A folder with model.onnx. Default: that of the model repository, with its model.yaml alone"
      }),
      sha256: Schema.optionalKey(ModelSettings.Hashes).annotate({
        description: "The SHA-256 of each of its files by name, model.yaml among them"
      }),
      golden: Schema.optionalKey(Schema.Array(ModelSettings.Golden).check(Schema.isMaxLength(100))).annotate({
        description: "Inputs with the outputs that must come, beside those of its model.yaml"
      })
    }).check(
      Schema.makeFilter(({ golden, sha256, source }) =>
        source !== undefined || golden === undefined && sha256 === undefined
          ? undefined
          : "sha256 and golden need a source"
      )
    ),
    success: Model,
    error: [UnknownName, Conflict]
  }),
  HttpApiEndpoint.delete("unloadVersion", "/inference/models/:name/versions/:version", {
    params: { name: segment, version: segment },
    success: Model,
    error: [UnknownName, Conflict]
  }),
  HttpApiEndpoint.put("setTraffic", "/inference/models/:name/traffic", {
    params,
    payload: Schema.Struct({
      weights: Schema.Record(segment, Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0))).annotate({
        description: "Shares by version; those that are left out get none"
      })
    }),
    success: Model,
    error: [UnknownName, Conflict]
  })
)
