/**
 * The part of a settings file that says where calls go: providers with their accounts, and models with their targets.
 *
 * ```yaml
 * providers:
 *   deepseek:
 *     type: deepseek
 *     accounts:
 *       main: { keys: [ "${env:DEEPSEEK_API_KEY}" ] }
 * models:
 *   "*": { targets: [ { provider: deepseek } ] }
 * ```
 *
 * @since 0.1.0
 */
import * as Source from "@ballast/deepseek/Source"
import * as Field from "@ballast/settings/Field"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as lanePolicies from "./internal/lanePolicies.ts"
import type { Policies } from "./internal/lanePolicies.ts"
import * as Presets from "./Presets.ts"
import * as SemanticCache from "./SemanticCache.ts"
import * as When from "./When.ts"

export type { ModelPolicies, Policies } from "./internal/lanePolicies.ts"

const weight = Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0)).pipe(Field.withDefault(1))

const key = Field.secret.check(Schema.makeFilter(
  (secret) => Source.isKey(Redacted.value(secret).trim()),
  { expected: `a key of ${Source.usableKey}` }
))

const Account = Schema.Struct({
  keys: Schema.Array(key).check(Schema.isNonEmpty()).annotate({
    description: "The keys of the account. The first is used; the next ones take its place when it is refused."
  }),
  weight: weight.annotate({ description: "Its share of the calls beside the other accounts." })
})

const choiceOfAccount = Schema.Literals(["prefix", "weighted", "least-loaded"])

/**
 * A provider and its accounts.
 *
 * @category schemas
 * @since 0.1.0
 */
export const ProviderSettings = Schema.Struct({
  type: Schema.Literals([...Presets.types]).annotate({
    description: "What kind of service it is. `openai` is whatever else speaks the API."
  }),
  baseUrl: Schema.optionalKey(Schema.String.check(Schema.makeFilter(
    (text) => Source.parseUrl(text) !== undefined,
    { expected: Source.usableUrl }
  ))).annotate({ description: "Where it is. Needed for `openai`; else the type's own." }),
  accounts: Schema.Record(Schema.String, Account).pipe(Field.withDefault({})).annotate({
    description: "Its accounts by name. A server of one's own that wants no key needs none."
  }),
  choice: choiceOfAccount.pipe(Field.withDefault("prefix")).annotate({
    description: "How an account is chosen: `prefix` returns a conversation to the account that has its context cached."
  }),
  concurrency: Schema.Record(Schema.String, Schema.Int.check(Schema.isGreaterThanOrEqualTo(1))).pipe(
    Field.withDefault({})
  ).annotate({
    description: "Calls that an account may have in flight, by model. Default: what the provider documents, else 500."
  }),
  preflight: Schema.Boolean.pipe(Field.withDefault(true)).annotate({
    description:
      "Whether requests that DeepSeek would surely refuse are refused here, and not sent. Other services get all requests."
  }),
  warmUp: Schema.Boolean.pipe(Field.withDefault(false)).annotate({
    description:
      "Whether the list of models is read as the gateway starts, so that the first call finds a connection with its TLS. It costs nothing."
  }),
  resume: Schema.Boolean.pipe(Field.withDefault(true)).annotate({
    description:
      "Whether a stream that breaks goes on where its text ended. It takes prefix completion, which DeepSeek has; streams of others end."
  })
})

/**
 * @category models
 * @since 0.1.0
 */
export type ProviderSettings = typeof ProviderSettings.Type

/**
 * Where calls of a model may go.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Target = Schema.Struct({
  provider: Schema.String.annotate({ description: "The name of a provider above." }),
  account: Schema.optionalKey(Schema.String).annotate({ description: "One of its accounts. Default: any." }),
  model: Schema.optionalKey(Schema.NonEmptyString).annotate({
    description: "The model as the provider names it. Default: the name that the request asks for."
  }),
  weight: weight.annotate({ description: "Its share of the calls beside the other targets. 0 gives it no calls." }),
  arm: Schema.optionalKey(Schema.NonEmptyString).annotate({
    description: "Its name in headers, logs and metrics. Default: provider, account and model."
  }),
  when: Schema.optionalKey(
    Schema.String.check(Schema.makeFilter((expression) =>
      Result.match(When.make(expression), {
        onSuccess: () => undefined,
        onFailure: ({ detail }) => detail
      }), { expected: "a condition in CEL" }))
  ).annotate({ description: "A condition in CEL over request, client, headers and time. Default: every call." })
})

/**
 * @category models
 * @since 0.1.0
 */
export type Target = typeof Target.Type

const Mirror = Schema.Struct({
  ...Target.fields,
  share: Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1 })).annotate({
    description: "The share of the calls that also go there, from 0 to 1."
  })
})

const Semantic = Schema.Struct({
  model: Schema.NonEmptyString.annotate({
    description: "A model above whose targets have embeddings. It is asked for the embedding of each last question."
  }),
  threshold: Schema.Finite.check(Schema.isBetween({ minimum: 0.01, maximum: 1 })).pipe(
    Field.withDefault(SemanticCache.defaults.threshold)
  ).annotate({ description: "The least cosine of the embeddings of two questions." }),
  capacity: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 100_000 })).pipe(
    Field.withDefault(SemanticCache.defaults.capacity)
  ).annotate({
    description: "Answers in memory. An embedding takes 4 bytes times its length, an answer up to `maxSize`."
  })
})

const Cache = Schema.Struct({
  timeToLive: Field.duration({ maximum: "30d" }).pipe(Field.withDefault("5m")).annotate({
    description: "How long an answer is given again."
  }),
  staleIfError: Field.duration({ maximum: "30d" }).pipe(Field.withDefault("0s")).annotate({
    description: "How long after that it is given while the targets fail."
  }),
  capacity: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 1_000_000 })).pipe(Field.withDefault(1000))
    .annotate({
      description: "Answers in memory, whole and streamed ones each."
    }),
  maxSize: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 16_777_216 })).pipe(Field.withDefault(262_144))
    .annotate({
      description: "The longest answer that is kept. Times twice the capacity, it bounds the memory.",
      unit: "characters of JSON"
    }),
  maxTemperature: Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 2 })).pipe(Field.withDefault(1)).annotate(
    {
      description: "Calls with a higher temperature go past the cache; one that is left out counts as 1."
    }
  ),
  shared: Schema.Boolean.pipe(Field.withDefault(false)).annotate({
    description: "Whether clients get each other's answers."
  }),
  semantic: Schema.optionalKey(Semantic).annotate({
    description: "Gives the answer of a question that means the same, too. Default: only of the very same request."
  })
})

/**
 * How the calls of one model are divided and where they go when that fails.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Route = Schema.Struct({
  targets: Schema.Array(Target).check(Schema.isNonEmpty()).annotate({
    description: "Among these the calls are divided."
  }),
  choice: Schema.Literals(["weighted", "least-loaded", "client", "user"]).pipe(Field.withDefault("weighted")).annotate({
    description:
      "How a target is chosen: at random by weight, the less busy of two, or the same one for a client or a user."
  }),
  failover: Schema.Array(Target).pipe(Field.withDefault([])).annotate({
    description:
      "Asked in this order when the chosen target can not answer, then the other targets. Empty: the chosen one alone."
  }),
  mirror: Schema.optionalKey(Mirror).annotate({
    description: "A target that gets copies of a share of the calls; its answers are dropped."
  }),
  cache: Schema.optionalKey(Cache).annotate({
    description: "Gives the answer of the same question again. Default: every call is made."
  })
})

/**
 * @category models
 * @since 0.1.0
 */
export type Route = typeof Route.Type

/**
 * All providers and models. The model `*` takes all names that are not there.
 *
 * @category schemas
 * @since 0.1.0
 */
export const RouterSettings = Schema.Struct({
  providers: Schema.Record(Schema.String, ProviderSettings),
  models: Schema.Record(Schema.String, Route)
})

/**
 * @category models
 * @since 0.1.0
 */
export type RouterSettings = typeof RouterSettings.Type

/**
 * A contradiction between settings that are right one by one.
 *
 * @category models
 * @since 0.1.0
 */
export interface Contradiction {
  readonly path: ReadonlyArray<string | number>
  readonly message: string
}

const listed = (names: ReadonlyArray<string>): string => `known: ${names.join(", ") || "none"}`

/** A provider that is not there is told elsewhere. */
const hasEmbeddings = (providers: RouterSettings["providers"], name: string): boolean => {
  const provider = Object.hasOwn(providers, name) ? providers[name] : undefined
  if (provider === undefined) return true
  const { baseUrl, make }: Presets.Preset = Presets.presets[provider.type]
  return make({ name, baseUrl: provider.baseUrl ?? baseUrl ?? "" }).paths.embeddings !== undefined
}

/**
 * Finds what does not fit together: targets without their provider or account, providers without a URL or a key, two arms of a name,
 * caches without embeddings, and two policies of a lane.
 *
 * @category checks
 * @since 0.1.0
 */
export const contradictions = (
  { models, providers }: RouterSettings,
  policies: Policies = {}
): ReadonlyArray<Contradiction> => {
  const found: Array<Contradiction> = []
  for (const [name, { accounts, baseUrl, type }] of Object.entries(providers)) {
    const preset: Presets.Preset = Presets.presets[type]
    if (baseUrl === undefined && preset.baseUrl === undefined) {
      found.push({ path: ["providers", name], message: `a provider of type ${type} needs a baseUrl` })
    }
    if (Object.keys(accounts).length === 0 && !preset.keyless) {
      found.push({ path: ["providers", name], message: "it needs accounts with at least one key" })
    }
  }
  const checkTarget = (target: Target, path: ReadonlyArray<string | number>): void => {
    const provider = Object.hasOwn(providers, target.provider) ? providers[target.provider] : undefined
    if (provider === undefined) {
      const message = `there is no provider ${target.provider}; ${listed(Object.keys(providers))}`
      found.push({ path: [...path, "provider"], message })
    } else if (target.account !== undefined && !Object.hasOwn(provider.accounts, target.account)) {
      const message = `${target.provider} has no account ${target.account}; ${listed(Object.keys(provider.accounts))}`
      found.push({ path: [...path, "account"], message })
    }
  }
  /** Embeddings can be compared when all come from one model. */
  const problemOfEmbeddings = (model: string): string | undefined => {
    const route = Object.hasOwn(models, model) ? models[model] : models["*"]
    if (route === undefined) return `there is no model ${model}; ${listed(Object.keys(models))}`
    const all = [...route.targets, ...route.failover]
    const without = all.map(({ provider }) => provider).find((name) => !hasEmbeddings(providers, name))
    if (without !== undefined) return `${model} leads to ${without}, which has no embeddings`
    const names = new Set(all.map((target) => target.model ?? model))
    return names.size === 1
      ? undefined
      : `${model} leads to several models (${[...names].join(", ")}), whose embeddings can not be compared`
  }
  for (const [name, { cache, failover, mirror, targets }] of Object.entries(models)) {
    targets.forEach((target, index) => checkTarget(target, ["models", name, "targets", index]))
    failover.forEach((target, index) => checkTarget(target, ["models", name, "failover", index]))
    if (mirror !== undefined) checkTarget(mirror, ["models", name, "mirror"])
    const problem = cache?.semantic && problemOfEmbeddings(cache.semantic.model)
    if (problem !== undefined) found.push({ path: ["models", name, "cache", "semantic", "model"], message: problem })
    const arms = targets.map(armOf)
    const twice = arms.find((arm, index) => arms.indexOf(arm) !== index)
    if (twice !== undefined) {
      found.push({
        path: ["models", name, "targets"],
        message: `two targets are called ${twice}; give one another arm`
      })
    }
  }
  for (const { message, route } of lanePolicies.conflicts(models, policies)) {
    found.push({ path: ["models", route, "policies"], message })
  }
  return found
}

/**
 * The name of a target in headers, logs and metrics.
 *
 * @category accessors
 * @since 0.1.0
 */
export const armOf = ({ account, arm, model, provider }: Target): string =>
  arm ?? [provider, account, model].filter((part) => part !== undefined).join("/")
