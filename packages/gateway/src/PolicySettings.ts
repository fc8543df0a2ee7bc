/**
 * The policies in the settings file: `policies` for all models, `models.<name>.policies` over it for one.
 *
 * @since 0.1.0
 */
import * as Lane from "@ballast/deepseek/Lane"
import type * as RouterSettings from "@ballast/router/RouterSettings"
import * as Field from "@ballast/settings/Field"
import * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import * as Struct from "effect/Struct"

const count = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

const Retry = Schema.Struct({
  times: count(0, 20).annotate({ description: "Attempts after the first; 0 for none." }),
  base: Field.duration({ minimum: "1ms", maximum: "1h" }).annotate({
    description: "Bound of the first wait; each next one is twice as long. The wait is drawn below it."
  }),
  cap: Field.duration({ minimum: "1ms", maximum: "1h" }).annotate({ description: "The highest bound." }),
  maxRetryAfter: Field.duration({ minimum: "0s", maximum: "1h" }).annotate({
    description: "The longest Retry-After that is waited for."
  })
})

const RetryBudget = Schema.Struct({
  share: Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1 })).annotate({
    description: "Retries for each call."
  }),
  floor: Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 10_000 })).annotate({
    description: "Retries on top, whatever the load.",
    unit: "retries per second"
  })
})

const CircuitBreaker = Schema.Struct({
  enabled: Schema.Boolean.annotate({
    description: "Whether an account's model that keeps failing is left alone for a while."
  }),
  failureRate: Schema.Finite.check(Schema.isGreaterThan(0), Schema.isLessThanOrEqualTo(1)).annotate({
    description: "Share of failed calls that opens the circuit."
  }),
  minimumCalls: count(1, 1_000_000).annotate({
    description: "Calls that must have ended within the window first. Default: 10, or 100 where simulators answer."
  }),
  window: Field.duration({ minimum: "1s", maximum: "1h" }).annotate({
    description: "The stretch of time that is judged."
  }),
  openDuration: Field.duration({ minimum: "1ms", maximum: "1h" }).annotate({
    description: "How long the circuit stays open before a call tries it again."
  })
})

const RateLimit = Schema.Struct({
  limit: count(1, 1_000_000).annotate({ description: "Calls that may start per window." }),
  window: Field.duration({ minimum: "1ms", maximum: "1d" }).annotate({
    description: "The window; a token bucket of the limit's size is filled over it."
  }),
  maxWait: Field.duration({ maximum: "1h" }).annotate({ description: "How long a call may wait for its turn." })
})

const Concurrency = Schema.Struct({
  queue: count(0, 1_000_000).annotate({ description: "Calls that may wait for a place of an account's model." }),
  maxWait: Field.duration({ maximum: "1h" }).annotate({ description: "How long a call may wait for a place." })
})

const deadline = Field.duration({ minimum: "1ms", maximum: "7d" })

const Deadlines = Schema.Struct({
  total: deadline.annotate({ description: "Of a call, with all its waits and attempts." }),
  attempt: deadline.annotate({ description: "Of one attempt." }),
  firstToken: deadline.annotate({ description: "Until a stream's first token." }),
  idle: deadline.annotate({ description: "Between two tokens of a stream." })
})

const Resume = Schema.Struct({
  times: count(0, 20).annotate({
    description:
      "How often a stream that breaks goes on where its text ended; 0 for never. Each is paid from the retry budget."
  })
})

const { concurrency, deadlines, resume, retry, retryBudget } = Lane.defaults

/** `1 second` as the file has it. */
const short = (text: string): string => text.replace(/ ?(s)econds?| ?(m)inutes?/, "$1$2")

const rateLimit = { window: "1s", maxWait: "0s" }

const limitOfRate = { description: "Limits how many calls an account's model may start. Default: no limit." }

/**
 * The policies of all models.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Policies = Field.section({
  retry: Field.section({
    times: Retry.fields.times.pipe(Field.withDefault(retry.times)),
    base: Retry.fields.base.pipe(Field.withDefault(short(retry.base))),
    cap: Retry.fields.cap.pipe(Field.withDefault(short(retry.cap))),
    maxRetryAfter: Retry.fields.maxRetryAfter.pipe(Field.withDefault("1m"))
  }),
  retryBudget: Field.section({
    share: RetryBudget.fields.share.pipe(Field.withDefault(retryBudget.share)),
    floor: RetryBudget.fields.floor.pipe(Field.withDefault(retryBudget.floor))
  }),
  circuitBreaker: Field.section({
    enabled: CircuitBreaker.fields.enabled.pipe(Field.withDefault(true)),
    failureRate: CircuitBreaker.fields.failureRate.pipe(Field.withDefault(0.5)),
    minimumCalls: Schema.optionalKey(CircuitBreaker.fields.minimumCalls),
    window: CircuitBreaker.fields.window.pipe(Field.withDefault("10s")),
    openDuration: CircuitBreaker.fields.openDuration.pipe(Field.withDefault("30s"))
  }),
  rateLimit: Schema.optionalKey(Schema.Struct({
    limit: RateLimit.fields.limit,
    window: RateLimit.fields.window.pipe(Field.withDefault(rateLimit.window)),
    maxWait: RateLimit.fields.maxWait.pipe(Field.withDefault(rateLimit.maxWait))
  })).annotate(limitOfRate),
  concurrency: Field.section({
    queue: Concurrency.fields.queue.pipe(Field.withDefault(concurrency.queue)),
    maxWait: Concurrency.fields.maxWait.pipe(Field.withDefault(short(concurrency.maxWait)))
  }),
  deadlines: Field.section({
    total: Deadlines.fields.total.pipe(Field.withDefault(short(deadlines.total))),
    attempt: Deadlines.fields.attempt.pipe(Field.withDefault(short(deadlines.attempt))),
    firstToken: Deadlines.fields.firstToken.pipe(Field.withDefault(short(deadlines.firstToken))),
    idle: Deadlines.fields.idle.pipe(Field.withDefault(short(deadlines.idle)))
  }),
  resume: Field.section({
    times: Resume.fields.times.pipe(Field.withDefault(resume.times))
  })
})

/**
 * @category models
 * @since 0.1.0
 */
export type Policies = typeof Policies.Type

const optional = Struct.map(Schema.optionalKey)

/**
 * The policies of one model: each setting that is left out is that of `policies`.
 *
 * @category schemas
 * @since 0.1.0
 */
export const ModelPolicies = Schema.Struct({
  retry: Schema.optionalKey(Retry.mapFields(optional)),
  retryBudget: Schema.optionalKey(RetryBudget.mapFields(optional)),
  circuitBreaker: Schema.optionalKey(CircuitBreaker.mapFields(optional)),
  rateLimit: Schema.optionalKey(RateLimit.mapFields(optional)),
  concurrency: Schema.optionalKey(Concurrency.mapFields(optional)),
  deadlines: Schema.optionalKey(Deadlines.mapFields(optional)),
  resume: Schema.optionalKey(Resume.mapFields(optional))
})

/**
 * @category models
 * @since 0.1.0
 */
export type ModelPolicies = typeof ModelPolicies.Type

const over = (usual: Policies, own: ModelPolicies): Policies => {
  const { rateLimit: given, ...rest } = usual
  const limit = own.rateLimit?.limit ?? given?.limit
  const without = {
    ...rest,
    retry: { ...usual.retry, ...own.retry },
    retryBudget: { ...usual.retryBudget, ...own.retryBudget },
    circuitBreaker: { ...usual.circuitBreaker, ...own.circuitBreaker },
    concurrency: { ...usual.concurrency, ...own.concurrency },
    deadlines: { ...usual.deadlines, ...own.deadlines },
    resume: { ...usual.resume, ...own.resume }
  }
  if (limit === undefined) return without
  const waits = { window: Duration.seconds(1), maxWait: Duration.zero }
  return { ...without, rateLimit: { ...waits, ...given, ...own.rateLimit, limit } }
}

/** What is missing for a model's rate limit; undefined when it is complete. */
export const withoutLimit = (usual: Policies, own: ModelPolicies | undefined): string | undefined =>
  own?.rateLimit !== undefined && own.rateLimit.limit === undefined && usual.rateLimit === undefined
    ? "it needs a limit, since policies has no rateLimit"
    : undefined

/** Faults that a person asks for one after the other do not open a circuit: it takes a load of them. */
const minimumCalls = (faulty: boolean): number => faulty ? 100 : Lane.defaults.circuitBreaker.minimumCalls

const shorter = (inner: Duration.Duration, outer: Duration.Duration): Duration.Duration | false =>
  Duration.isLessThan(inner, outer) && inner

const ofAll = (settings: Policies, faulty: boolean) => {
  const { circuitBreaker, concurrency, deadlines, rateLimit, resume, retry, retryBudget } = settings
  const { enabled, ...breaker } = circuitBreaker
  return {
    retry: retry.times > 0 && { ...retry, base: Duration.min(retry.base, retry.cap) },
    retryBudget,
    circuitBreaker: enabled && { ...breaker, minimumCalls: breaker.minimumCalls ?? minimumCalls(faulty) },
    rateLimit: rateLimit ?? false,
    concurrency,
    // The total is of the route, so it may be shorter than what is of its lanes.
    deadlines: {
      total: deadlines.total,
      attempt: deadlines.attempt,
      firstToken: shorter(deadlines.firstToken, deadlines.attempt),
      idle: shorter(deadlines.idle, deadlines.attempt)
    },
    resume: resume.times > 0 && resume
  } satisfies RouterSettings.ModelPolicies
}

/** What a model says, as the router takes it. */
const ofModel = (usual: Policies, own: ModelPolicies, faulty: boolean): RouterSettings.ModelPolicies => {
  const { deadlines: { total, ...lane }, ...all } = ofAll(over(usual, own), faulty)
  const { total: ownTotal, ...ownLane } = own.deadlines ?? {}
  return {
    ...own.retry && { retry: all.retry },
    ...own.retryBudget && { retryBudget: all.retryBudget },
    ...own.circuitBreaker && { circuitBreaker: all.circuitBreaker },
    ...own.rateLimit && { rateLimit: all.rateLimit },
    ...own.concurrency && { concurrency: all.concurrency },
    ...own.resume && { resume: all.resume },
    ...own.deadlines && {
      deadlines: { ...ownTotal && { total }, ...Object.keys(ownLane).length > 0 ? lane : undefined }
    }
  }
}

/**
 * The policies as the router takes them.
 *
 * @category accessors
 * @since 0.1.0
 */
export const toRouter = (
  settings: {
    readonly policies: Policies
    readonly models: Readonly<Record<string, { readonly policies?: ModelPolicies | undefined }>>
  },
  options: {
    /** Whether faults are asked for on purpose. */
    readonly faulty: boolean
  }
): RouterSettings.Policies => ({
  ...ofAll(settings.policies, options.faulty),
  models: Object.fromEntries(
    Object.entries(settings.models).flatMap(([name, { policies: own }]) =>
      own === undefined ? [] : [[name, ofModel(settings.policies, own, options.faulty)]]
    )
  )
})
