/** The language of files: the schemas of a workflow and its steps. */
import * as Field from "@ballast/settings/Field"
import type { Duration } from "effect/Duration"
import * as Schema from "effect/Schema"
import * as Services from "../services/settings.ts"

/**
 * The schema of a name in a file.
 *
 * @category schemas
 * @since 0.1.0
 */
export const identifier = Schema.String.check(Schema.makeFilter((text) => /^[A-Za-z_]\w{0,63}$/.test(text), {
  expected: "a name of letters, digits and _, at most 64"
})).annotate({ settingJson: { type: "string", pattern: "^[A-Za-z_]\\w{0,63}$" } })

const count = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

const Retry = Schema.Union([
  count(0, 20),
  Schema.Struct({
    times: count(0, 20).annotate({ description: "Attempts after the first." }),
    base: Schema.optionalKey(Field.duration({ minimum: "1ms", maximum: "1h" })).annotate({
      description: "Bound of the first wait; each next one is twice as long. Default 1s."
    }),
    cap: Schema.optionalKey(Field.duration({ minimum: "1ms", maximum: "1h" })).annotate({
      description: "The highest bound. Default 1m."
    })
  })
])

/**
 * What may be spent. A call in flight may exceed it, nothing begins after.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Budget = Schema.Struct({
  tokens: Schema.optionalKey(count(1, Number.MAX_SAFE_INTEGER)).annotate({
    description: "Tokens of prompts and answers."
  }),
  cost: Schema.optionalKey(Schema.Finite.check(Schema.isGreaterThan(0))).annotate({
    description: "Money, in the currency of the prices; in each, where there are several."
  }),
  time: Schema.optionalKey(Field.duration({ minimum: "1ms", maximum: "365d" })).annotate({
    description: "Time from the beginning, with all attempts and waits; then the call in flight is interrupted."
  })
})

/**
 * @category models
 * @since 0.1.0
 */
export type Budget = typeof Budget.Type

const Cache = Schema.Union([
  Schema.Literal(true),
  Schema.Struct({
    ttl: Schema.optionalKey(Field.duration({ minimum: "1s", maximum: "30d" })).annotate({
      description: "How long an output is used again. Default 1h."
    }),
    key: Schema.optionalKey(Schema.Unknown).annotate({
      description: "What must be equal, with expressions. Default: the whole input."
    })
  })
])

/**
 * One step.
 *
 * @category models
 * @since 0.1.0
 */
export interface Step {
  readonly id?: string
  readonly service?: string
  readonly input?: unknown
  readonly condition?: string
  readonly timeout?: Duration
  readonly retry?: typeof Retry.Type
  readonly needs?: ReadonlyArray<string>
  readonly parallel?: ReadonlyArray<Step>
  readonly forEach?: { readonly in: string; readonly concurrency?: number }
  readonly onError?: "fail" | "continue" | { readonly default: unknown } | { readonly steps: ReadonlyArray<Step> }
  readonly fallback?: string
  readonly cache?: typeof Cache.Type
  readonly budget?: Budget
  readonly idempotencyKey?: string
}

/** Steps in a list. */
const maxSteps = 500

const Steps = Schema.Array(Schema.suspend((): Schema.Codec<Step, unknown> => Step)).check(
  Schema.isNonEmpty(),
  Schema.isMaxLength(maxSteps)
)

/**
 * The schema of a step.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Step: Schema.Codec<Step, unknown> = Schema.Struct({
  id: Schema.optionalKey(identifier).annotate({
    description: "Its name in expressions and logs. Default: that of its service, with a number where that is taken."
  }),
  service: Schema.optionalKey(Schema.NonEmptyString).annotate({ description: "What it calls." }),
  input: Schema.optionalKey(Schema.Unknown).annotate({
    description: "What the service gets; texts may hold expressions. Default: the output of the step before."
  }),
  condition: Schema.optionalKey(Schema.String).annotate({
    description: "An expression; where it is false, the step is skipped and its output is null."
  }),
  timeout: Schema.optionalKey(Field.duration({ minimum: "1ms", maximum: "7d" })).annotate({
    description: "How long one attempt may take. It is interrupted then."
  }),
  retry: Schema.optionalKey(Retry).annotate({ description: "Attempts after the first, for failures that may pass." }),
  needs: Schema.optionalKey(Schema.Array(identifier)).annotate({
    description: "Steps that it waits for. Default: the one before it."
  }),
  parallel: Schema.optionalKey(Steps).annotate({
    description: "Steps that run at the same time, in place of a service; its output is theirs by id."
  }),
  forEach: Schema.optionalKey(Schema.Struct({
    in: Schema.String.annotate({ description: "An expression that gives a list." }),
    concurrency: Schema.optionalKey(count(1, 1000)).annotate({ description: "How many at a time. Default 4." })
  })).annotate({ description: "Calls the service for each element; its output is the list of outputs." }),
  onError: Schema.optionalKey(Schema.Union([
    Schema.Literals(["fail", "continue"]),
    Schema.Struct({ default: Schema.Unknown }),
    Schema.Struct({ steps: Steps })
  ])).annotate({
    description:
      "What happens when it fails for good: the run fails (default), goes on with null or with a default, or other steps run."
  }),
  fallback: Schema.optionalKey(Schema.NonEmptyString).annotate({
    description: "Another service that is called when this one has failed for good."
  }),
  cache: Schema.optionalKey(Cache).annotate({
    description: "Whether an output is used again for an equal input of the same service, also by other runs."
  }),
  budget: Schema.optionalKey(Budget).annotate({
    description: "What the step may spend, with all attempts, elements and steps within it."
  }),
  idempotencyKey: Schema.optionalKey(Schema.String).annotate({
    description: "What the service knows the call by. Default: the ids of run and step."
  })
})

/**
 * A whole file.
 *
 * @category schemas
 * @since 0.1.0
 */
export const File = Schema.Struct({
  workflow: Schema.Struct({
    name: identifier.annotate({ description: "What runs of it are started by." }),
    steps: Steps.annotate({ description: "The steps, in order." }),
    output: Schema.optionalKey(Schema.Unknown).annotate({
      description: "The result, with expressions. Default: the output of the last step."
    }),
    deadline: Schema.optionalKey(Field.duration({ minimum: "1s", maximum: "365d" })).annotate({
      description: "When a run fails that has not ended."
    }),
    budget: Schema.optionalKey(Budget).annotate({ description: "What a run may spend." }),
    finally: Schema.optionalKey(Steps).annotate({
      description: "Steps that run at the end, also of a run that failed or was cancelled."
    })
  }),
  services: Schema.optionalKey(Schema.Record(identifier, Services.Settings)).annotate({
    description: "What its steps call, beside the services that the program brings."
  }),
  files: Schema.optionalKey(Schema.Record(Schema.String, Schema.String)).annotate({
    description: "Texts of files and workflows that services name, in place of the files themselves."
  })
})

/**
 * @category models
 * @since 0.1.0
 */
export type File = typeof File.Type
