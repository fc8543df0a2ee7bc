/**
 * The resource `BallastModel`: which version of a model the gateways of a namespace serve, and how a new version takes over.
 *
 * The name of the resource is the name of the model. `spec` is what a person wishes; `status` is what the controller found and decided, and
 * also its memory: the version that serves, the canary's step and the counters at its beginning. So a controller that starts anew goes on
 * where the one before ended.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import * as SchemaTransformation from "effect/SchemaTransformation"

/**
 * Names of the resource in the API of Kubernetes.
 *
 * @category names
 * @since 0.1.0
 */
export const group = "models.ballast.dev"

/**
 * @category names
 * @since 0.1.0
 */
export const apiVersion = `${group}/v1alpha1`

/**
 * @category names
 * @since 0.1.0
 */
export const plural = "ballastmodels"

/**
 * Keeps a resource until its model is unloaded.
 *
 * @category names
 * @since 0.1.0
 */
export const finalizer = `${group}/unload`

const millis: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }

/** A length of time as Kubernetes writes it: `30s`, `5m`, `1h30m`. */
const Time = Schema.String.check(Schema.isPattern(/^([0-9]{1,6}(ms|s|m|h))+$/u), Schema.isMaxLength(40)).pipe(
  Schema.decodeTo(
    Schema.Duration,
    SchemaTransformation.transform({
      decode: (text) =>
        Duration.millis(
          Array.from(text.matchAll(/(\d+)(ms|s|m|h)/g))
            .reduce((sum, [, count, unit = ""]) => sum + Number(count) * (millis[unit] ?? 0), 0)
        ),
      encode: (duration) => `${Duration.toMillis(duration)}ms`
    })
  )
)

const whole = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

/** A name that can stand in a path, and in the label of a pod. */
const Version = Schema.String.check(Schema.isPattern(/^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/u)).annotate({
  description: "Version of the model. A changed model gets a new version."
})

const target = {
  source: Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(2048)).annotate({
    description: "Where the gateways find the version: a folder that they can read."
  }),
  version: Version,
  sha256: Schema.optionalKey(
    Schema.Record(Schema.String, Schema.String.check(Schema.isPattern(/^[0-9a-f]{64}$/u))).annotate({
      description:
        "SHA-256 of each file in the folder by its name, in hex. A version with another file, or one with another sum, never takes traffic."
    })
  ),
  golden: Schema.optionalKey(
    Schema.Array(Schema.Record(Schema.String, Schema.Unknown)).check(Schema.isMaxLength(16)).annotate({
      description: "Inputs with the outputs that the version must give before it takes traffic, as in model.yaml."
    })
  )
}

/**
 * What a gateway loads.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Target = Schema.Struct(target)

/**
 * @category models
 * @since 0.1.0
 */
export type Target = typeof Target.Type

/**
 * How a new version takes over step by step. The first step gives it `weight` percent of the calls; the steps after it share the rest evenly.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Canary = Schema.Struct({
  weight: Schema.optionalKey(
    whole(1, 99).annotate({ description: "Percent of the calls in the first step. Default: 10." })
  ),
  steps: Schema.optionalKey(
    whole(1, 50).annotate({ description: "Number of steps before it takes all calls. Default: 3." })
  ),
  interval: Schema.optionalKey(Time.annotate({ description: "The least time of a step. Default: 5m." })),
  maxErrorRatio: Schema.optionalKey(
    Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1 })).annotate({
      description: "It turns back when more than this share of the step's calls fails. Default: 0.01."
    })
  ),
  maxLatency: Schema.optionalKey(
    Time.annotate({
      description: "It turns back when the 95th percentile of its calls takes longer. Default: not judged."
    })
  ),
  minCalls: Schema.optionalKey(
    whole(0, 1_000_000).annotate({ description: "Calls that a step needs before it is judged. Default: 50." })
  )
})

/**
 * @category models
 * @since 0.1.0
 */
export type Canary = typeof Canary.Type

/**
 * @category schemas
 * @since 0.1.0
 */
export const Spec = Schema.Struct({
  ...target,
  canary: Schema.optionalKey(
    Canary.annotate({ description: "How a new version takes over. Default: at once, when it is ready on all pods." })
  ),
  replicas: Schema.optionalKey(
    whole(1, 10_000).annotate({ description: "Number of gateway pods that hold the model. Default: all ready ones." })
  )
})

/**
 * @category models
 * @since 0.1.0
 */
export type Spec = typeof Spec.Type

const Counters = Schema.Struct({ calls: Schema.Finite, errors: Schema.Finite })

/**
 * A condition as Kubernetes has them.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Condition = Schema.Struct({
  type: Schema.Literals(["Ready", "Progressing", "Degraded"]),
  status: Schema.Literals(["True", "False", "Unknown"]),
  reason: Schema.String,
  message: Schema.String,
  lastTransitionTime: Schema.String,
  observedGeneration: Schema.Int
})

/**
 * @category models
 * @since 0.1.0
 */
export type Condition = typeof Condition.Type

/**
 * @category schemas
 * @since 0.1.0
 */
export const Status = Schema.Struct({
  observedGeneration: Schema.optionalKey(Schema.Int),
  stable: Schema.optionalKey(Target.annotate({ description: "The version that serves." })),
  canary: Schema.optionalKey(
    Schema.Struct({
      version: Schema.String,
      fingerprint: Schema.String,
      step: Schema.Int,
      weight: Schema.Int,
      since: Schema.String.annotate({ description: "When the step began, by the controller's clock." }),
      baseline: Schema.Record(Schema.String, Counters).annotate({
        description: "Counters of each pod when the step began."
      }),
      calls: Schema.Finite,
      errors: Schema.Finite
    }).annotate({ description: "The version that takes over." })
  ),
  turnedBack: Schema.optionalKey(
    Schema.Struct({
      version: Schema.String,
      fingerprint: Schema.String,
      reason: Schema.String,
      message: Schema.String,
      at: Schema.String
    }).annotate({ description: "The version that was turned back. It is not tried again until the spec changes." })
  ),
  retry: Schema.optionalKey(
    Schema.Struct({ fingerprint: Schema.String, attempts: Schema.Int, at: Schema.String }).annotate({
      description: "How often a version that could not be loaded was tried, and when last."
    })
  ),
  pods: Schema.optionalKey(Schema.Int.annotate({ description: "Pods that should hold the model." })),
  readyPods: Schema.optionalKey(Schema.Int.annotate({ description: "Pods that serve it as wished." })),
  conditions: Schema.optionalKey(Schema.Array(Condition))
})

/**
 * @category models
 * @since 0.1.0
 */
export type Status = typeof Status.Type

/**
 * What the controller reads of a resource, of any kind. What it does not read goes back to the server as it came.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Metadata = Schema.Struct({
  name: Schema.String,
  namespace: Schema.optionalKey(Schema.String),
  uid: Schema.String,
  resourceVersion: Schema.String,
  generation: Schema.optionalKey(Schema.Int),
  deletionTimestamp: Schema.optionalKey(Schema.String),
  finalizers: Schema.optionalKey(Schema.Array(Schema.String)),
  labels: Schema.optionalKey(Schema.Record(Schema.String, Schema.String))
})

/**
 * A resource whose spec is not looked at yet, so that one that an older schema let in can be told of.
 *
 * @category schemas
 * @since 0.1.0
 */
export const BallastModel = Schema.Struct({
  metadata: Metadata,
  spec: Schema.optionalKey(Schema.Unknown),
  status: Schema.optionalKey(Schema.Unknown)
})

/**
 * @category models
 * @since 0.1.0
 */
export type BallastModel = typeof BallastModel.Type
