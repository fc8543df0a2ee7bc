/**
 * Settings from the configuration of a LiteLLM proxy, with a list of what has no counterpart.
 *
 * Deployments of one service become one provider, whose accounts are told apart by their keys; a group of deployments becomes a model with
 * a target for each; fallbacks become failover; costs of tokens become prices; the cache and the database are taken over. References to the environment stay references. What speaks another API than OpenAI's is
 * left out and listed.
 *
 * @see {@link https://docs.litellm.ai/docs/proxy/config_settings} for the format
 * @since 0.1.0
 */
import * as Presets from "@ballast/router/Presets"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { parseDocument, stringify } from "yaml"

/**
 * The settings as YAML, and what of the configuration is not in them.
 *
 * @category models
 * @since 0.1.0
 */
export interface Imported {
  readonly yaml: string
  readonly notes: ReadonlyArray<string>
}

const optionalText = Schema.optionalKey(Schema.NullOr(Schema.String))
const optionalNumber = Schema.optionalKey(Schema.NullOr(Schema.Finite))

const Params = Schema.Struct({
  model: Schema.String,
  api_base: optionalText,
  api_key: optionalText,
  weight: optionalNumber,
  rpm: optionalNumber,
  tpm: optionalNumber,
  max_parallel_requests: optionalNumber
})

const Deployment = Schema.Struct({ model_name: Schema.String, litellm_params: Params })

/** In USD for a token. */
const Costs = Schema.Struct({
  input_cost_per_token: Schema.Finite,
  output_cost_per_token: Schema.Finite,
  cache_read_input_token_cost: optionalNumber
})

const map = Schema.Record(Schema.String, Schema.Unknown)

const Configuration = Schema.Struct({
  model_list: Schema.optionalKey(Schema.NullOr(Schema.Array(map))),
  router_settings: Schema.optionalKey(Schema.NullOr(map)),
  litellm_settings: Schema.optionalKey(Schema.NullOr(map)),
  general_settings: Schema.optionalKey(Schema.NullOr(map))
})

interface Service {
  readonly type: Presets.Type
  /** Where it is when the configuration does not say. */
  readonly baseUrl?: string
  /** The variable that LiteLLM takes the key from when the configuration has none. */
  readonly key?: string
}

const openai: Service = { type: "openai", baseUrl: "https://api.openai.com/v1", key: "OPENAI_API_KEY" }

/** By the part of a model's name before the first slash. */
const services: Readonly<Record<string, Service>> = {
  deepseek: { type: "deepseek", key: "DEEPSEEK_API_KEY" },
  openai,
  custom_openai: openai,
  openai_like: openai,
  litellm_proxy: { type: "openai", key: "LITELLM_PROXY_API_KEY" },
  volcengine: { type: "ark", key: "VOLCENGINE_API_KEY" },
  siliconflow: { type: "siliconflow", key: "SILICONFLOW_API_KEY" },
  dashscope: { type: "dashscope", key: "DASHSCOPE_API_KEY" },
  openrouter: { type: "openrouter", key: "OPENROUTER_API_KEY" },
  together_ai: { type: "together", key: "TOGETHERAI_API_KEY" },
  fireworks_ai: { type: "fireworks", key: "FIREWORKS_AI_API_KEY" },
  hosted_vllm: { type: "vllm" },
  vllm: { type: "vllm" },
  ollama: { type: "ollama" },
  ollama_chat: { type: "ollama" }
}

/** LiteLLM's names in place of URLs that our presets have. */
const serviceOf = (name: string, hasUrl: boolean): readonly [Service, string] | undefined => {
  const slash = name.indexOf("/")
  const prefix = name.slice(0, Math.max(0, slash))
  const known = Object.hasOwn(services, prefix) ? services[prefix] : undefined
  if (known !== undefined) return [known, name.slice(slash + 1)]
  return slash === -1 || (hasUrl && prefix === "") ? [openai, name] : undefined
}

const reference = /^os\.environ\/(.+)$/

/** A text of the configuration as one of the settings. */
const textOf = (text: string): string => {
  const [, name] = reference.exec(text) ?? []
  return name === undefined ? text.replaceAll("${", () => "$${") : `\${env:${name}}`
}

interface Account {
  readonly keys: ReadonlyArray<string>
}

interface Provider {
  readonly type: Presets.Type
  readonly baseUrl?: string
  accounts?: Record<string, Account>
  concurrency?: Record<string, number>
}

interface Target {
  readonly provider: string
  account?: string
  model?: string
  weight?: number
}

/** In USD for a million tokens. */
interface Price {
  readonly provider: string
  readonly model: string
  readonly currency: "USD"
  readonly hit: number
  readonly miss: number
  readonly output: number
}

interface Cache {
  readonly timeToLive?: string
  readonly shared: true
}

interface Model {
  targets: Array<Target>
  cache?: Cache
  choice?: "weighted" | "least-loaded"
  failover?: Array<Target>
}

const choices: Readonly<Record<string, Model["choice"]>> = {
  "simple-shuffle": "weighted",
  "least-busy": "least-loaded",
  "latency-based-routing": "least-loaded",
  "usage-based-routing": "least-loaded",
  "usage-based-routing-v2": "least-loaded"
}

const nearestChoice = new Set(["latency-based-routing", "usage-based-routing", "usage-based-routing-v2"])

/** What is read of a deployment elsewhere. */
const read = new Set(["model", "api_base", "api_key", "weight", "rpm", "tpm", "max_parallel_requests"])

const seconds = (value: number): string => `${Math.round(value * 1000)}ms`

/** Without what binary fractions add. */
const ofMillion = (cost: number): number => Number((cost * 1e6).toPrecision(12))

const unslashed = (url: string): string => url.replace(/\/+$/, "")

/** Of Ollama's own API LiteLLM is told, of OpenAI's one we are. */
const urlOf = (type: Presets.Type, url: string): string =>
  type === "ollama" && !unslashed(url).endsWith("/v1") && !reference.test(url) ? `${unslashed(url)}/v1` : unslashed(url)

const isEmpty = (value: object): boolean => Object.keys(value).length === 0

const isNumber = (value: unknown): value is number => typeof value === "number" && Number.isFinite(value)

const isText = (value: unknown): value is string => typeof value === "string"

type Section = Readonly<Record<string, unknown>>

/** The parts of a configuration, and which of them were read. */
class Reading {
  readonly notes: Array<string> = []
  readonly providers: Record<string, Provider> = {}
  readonly models: Record<string, Model> = {}
  readonly prices: Array<Price> = []

  note(where: string, what: string): void {
    this.notes.push(`${where}: ${what}`)
  }

  provider(type: Presets.Type, baseUrl: string | undefined): readonly [name: string, Provider] {
    for (const [name, provider] of Object.entries(this.providers)) {
      if (provider.type === type && provider.baseUrl === baseUrl) return [name, provider]
    }
    let name: string = type
    for (let n = 2; name in this.providers; n++) name = `${type}-${n}`
    const provider: Provider = { type, ...(baseUrl === undefined ? undefined : { baseUrl }) }
    this.providers[name] = provider
    return [name, provider]
  }

  account(provider: Provider, key: string): string {
    const accounts = (provider.accounts ??= {})
    for (const [name, account] of Object.entries(accounts)) if (account.keys.includes(key)) return name
    const name = isEmpty(accounts) ? "main" : `account-${Object.keys(accounts).length + 1}`
    accounts[name] = { keys: [key] }
    return name
  }

  deployment(given: Readonly<Record<string, unknown>>, index: number): void {
    const decoded = Option.getOrUndefined(Schema.decodeUnknownOption(Deployment)(given))
    const at = `model_list[${index}]`
    if (decoded === undefined) return this.note(at, "it needs a model_name and litellm_params with a model; left out")
    const { litellm_params: params, model_name: name } = decoded
    const where = `${at} (${name})`
    const found = serviceOf(params.model, params.api_base != null)
    if (found === undefined) {
      return this.note(where, `${params.model.split("/")[0]} is not a service that speaks OpenAI's API; left out`)
    }
    const [service, asked] = found
    const url = params.api_base ?? service.baseUrl
    const preset: Presets.Preset = Presets.presets[service.type]
    if (url === undefined && preset.baseUrl === undefined) return this.note(where, "it needs an api_base; left out")
    if (name !== "*" && /\*/.test(name)) {
      return this.note(where, "patterns of names have no counterpart but *; left out")
    }
    const baseUrl = url == null ? undefined : urlOf(service.type, textOf(url))
    const [providerName, provider] = this.provider(service.type, baseUrl === preset.baseUrl ? undefined : baseUrl)
    const key = params.api_key == null ? service.key && `\${env:${service.key}}` : textOf(params.api_key)
    if (params.api_key != null && !reference.test(params.api_key)) {
      this.note(where, "its api_key stands in the file as it is; better put it into the environment: ${env:NAME}")
    }
    const account = key === undefined ? undefined : this.account(provider, key)
    this.target(where, name, providerName, account, asked, params)
    this.rest(where, given, this.price(providerName, asked, given))
    if (params.rpm != null || params.tpm != null) {
      this.note(
        where,
        "rpm and tpm are taken as weights only; limits of calls are in policies.rateLimit, for all targets"
      )
    }
    if (params.max_parallel_requests != null) {
      provider.concurrency = { ...provider.concurrency, [asked]: params.max_parallel_requests }
    }
  }

  /** By what the calls of a group are divided: what its first deployment has, as in LiteLLM. */
  readonly shares = new Map<string, "weight" | "rpm" | "tpm" | undefined>()

  target(
    where: string,
    name: string,
    provider: string,
    account: string | undefined,
    asked: string,
    params: typeof Params.Type
  ): void {
    const first = (["weight", "rpm", "tpm"] as const).find((share) => params[share] != null)
    if (!this.shares.has(name)) this.shares.set(name, first)
    const by = this.shares.get(name)
    const share = by === undefined ? undefined : params[by] ?? 0
    if (share === 0) {
      this.note(where, `it has no ${by} beside a deployment that has, so it gets no calls, as in LiteLLM`)
    }
    const model = (this.models[name] ??= { targets: [] })
    const made: Target = {
      provider,
      ...(account === undefined ? undefined : { account }),
      ...(asked === name || asked === "*" ? undefined : { model: asked }),
      ...(share === undefined ? undefined : { weight: share })
    }
    const same = model.targets.find((one) =>
      one.provider === made.provider && one.account === made.account && one.model === made.model
    )
    if (same === undefined) model.targets.push(made)
    else same.weight = (same.weight ?? 1) + (made.weight ?? 1)
  }

  /** Whether its costs are taken over: both of input and of output are needed. */
  price(provider: string, model: string, { litellm_params: params, model_info: info }: Section): boolean {
    const costs = Option.getOrUndefined(
      Schema.decodeUnknownOption(Costs)({ ...Object(info), ...Object(params) })
    )
    if (costs === undefined) return false
    const { cache_read_input_token_cost: hit, input_cost_per_token: miss, output_cost_per_token: output } = costs
    const isKnown = this.prices.some((price) => price.provider === provider && price.model === model)
    if (!isKnown) {
      const currency = "USD"
      const price = { hit: ofMillion(hit ?? miss), miss: ofMillion(miss), output: ofMillion(output) }
      this.prices.push({ provider, model, currency, ...price })
    }
    return true
  }

  /** Lists what is not read of a deployment. */
  rest(where: string, { litellm_params: params, model_info: info }: Section, isPriced: boolean): void {
    const isRead = (key: string) => isPriced && Object.hasOwn(Costs.fields, key)
    const left = [
      ...Object.keys(params ?? {}).filter((key) => !read.has(key) && !isRead(key)).map((key) =>
        `litellm_params.${key}`
      ),
      ...Object.keys(info ?? {}).filter((key) => !isRead(key)).map((key) => `model_info.${key}`)
    ]
    if (left.length > 0) this.note(where, `no counterpart: ${left.join(", ")}`)
  }

  /** Accounts that are alone need not be named. */
  tidy(): void {
    for (const { failover = [], targets } of Object.values(this.models)) {
      for (const target of [...targets, ...failover]) {
        if (Object.keys(this.providers[target.provider]?.accounts ?? {}).length < 2) delete target.account
      }
    }
  }

  /** `[{ a: [b, c] }]`: the targets of b and c stand by for a. */
  fallbacks(where: string, given: unknown): void {
    if (!Array.isArray(given)) return this.note(where, "it is not a list; left out")
    for (const one of given) {
      for (const [from, to] of Object.entries(typeof one === "object" && one !== null ? one : {})) {
        if (Array.isArray(to)) this.failover(where, from, to.filter(isText))
      }
    }
  }

  failover(where: string, from: string, to: ReadonlyArray<string>): void {
    const model = this.models[from]
    if (model === undefined) return this.note(where, `there is no model ${from}; left out`)
    for (const name of to) {
      const other = this.models[name]
      if (other === undefined) this.note(where, `there is no model ${name}; left out`)
      else {
        ;(model.failover ??= []).push(
          ...other.targets.map(({ weight: _, ...target }) => ({ ...target, model: target.model ?? name }))
        )
      }
    }
  }

  aliases(where: string, given: unknown): void {
    for (const [alias, to] of Object.entries(typeof given === "object" && given !== null ? given : {})) {
      const name = isText(to) ? to : to?.model
      const model = isText(name) ? this.models[name] : undefined
      if (model === undefined) this.note(where, `there is no model for ${alias}; left out`)
      else {
        this.models[alias] = {
          ...model,
          targets: model.targets.map((target) => ({ ...target, model: target.model ?? name }))
        }
      }
    }
  }
}

/** Its Redis as a URL, where its host is named. */
const redisOf = ({ host, password, port, url }: Section): string | undefined => {
  if (isText(url)) return textOf(url)
  if (!isText(host)) return undefined
  const secret = isText(password)
    ? `:${reference.test(password) ? textOf(password) : encodeURIComponent(password)}@`
    : ""
  return `redis://${secret}${textOf(host)}:${isText(port) ? textOf(port) : isNumber(port) ? port : 6379}`
}

/** The cache of all models; gives the URL of its Redis. */
const cacheOf = (reading: Reading, { cache, cache_params: params }: Section): string | undefined => {
  if (cache !== true) return undefined
  const where = "litellm_settings.cache"
  const { ttl, type = "redis", ...place } = typeof params === "object" && params !== null ? params as Section : {} // a map
  if (type !== "redis" && type !== "local") {
    reading.note(
      where,
      `${
        String(type)
      } has no counterpart but models.<name>.cache.semantic, which needs a model for embeddings; left out`
    )
    return undefined
  }
  const made: Cache = { ...(isNumber(ttl) && { timeToLive: seconds(ttl) }), shared: true }
  for (const model of Object.values(reading.models)) model.cache = made
  reading.note(where, "all clients get each other's answers, as in LiteLLM; take shared out to keep them apart")
  const left = Object.keys(place).filter((key) => !["host", "port", "password", "url"].includes(key))
  if (left.length > 0) {
    reading.note(
      "no counterpart",
      left.map((key) => `litellm_settings.cache_params.${key}`).join(", ")
    )
  }
  if (type === "local") return undefined
  const url = redisOf(place)
  if (url === undefined) reading.note(where, "no host is named, so answers are kept in memory; redis.url names a Redis")
  return url
}

interface Policies {
  retry?: object
  deadlines?: Record<string, string>
  circuitBreaker?: object
}

/** Reads the settings of router and library; what the router says wins. */
const policiesOf = (reading: Reading, router: Section, library: Section): Policies => {
  const policies: Policies = {}
  const known: Record<string, (value: unknown, where: string) => boolean | void> = {
    fallbacks: (value, where) => reading.fallbacks(where, value),
    default_fallbacks: (value, where) => {
      const to = Array.isArray(value) ? value.filter(isText) : []
      for (const from of Object.keys(reading.models)) {
        if (!to.includes(from)) reading.failover(where, from, to)
      }
    },
    // Read before.
    cache: () => {},
    cache_params: () => {},
    model_group_alias: (value, where) => reading.aliases(where, value),
    routing_strategy: (value, where) => {
      const choice = isText(value) ? choices[value] : undefined
      if (choice === undefined) return false
      if (isText(value) && nearestChoice.has(value)) reading.note(where, `${value} is nearest to choice: least-loaded`)
      if (choice !== "weighted") { for (const model of Object.values(reading.models)) model.choice = choice }
    },
    num_retries: (value) => isNumber(value) && (policies.retry = { times: Math.min(20, value) }, true),
    timeout: (value) => isNumber(value) && ((policies.deadlines ??= {})["attempt"] = seconds(value), true),
    request_timeout: (value) => isNumber(value) && ((policies.deadlines ??= {})["attempt"] = seconds(value), true),
    stream_timeout: (value) => isNumber(value) && ((policies.deadlines ??= {})["firstToken"] = seconds(value), true),
    cooldown_time: (value) => isNumber(value) && (policies.circuitBreaker = { openDuration: seconds(value) }, true)
  }
  const left: Array<string> = []
  // Aliases copy models, so they come last.
  const order = ([key]: readonly [string, unknown]) => key === "model_group_alias" ? 1 : 0
  for (const [section, values] of [["litellm_settings", library], ["router_settings", router]] as const) {
    for (const [key, value] of Object.entries(values).sort((a, b) => order(a) - order(b))) {
      if (section === "litellm_settings" && key in router) continue
      const where = `${section}.${key}`
      if (!Object.hasOwn(known, key) || known[key]?.(value, where) === false) left.push(where)
    }
  }
  if (left.length > 0) reading.note("no counterpart", left.join(", "))
  return policies
}

/**
 * Reads a configuration. Fails with one line when the text is not a configuration.
 *
 * @category converting
 * @since 0.1.0
 */
export const convert = (text: string): Imported | string => {
  const document = parseDocument(text)
  const [wrong] = document.errors
  if (wrong !== undefined) return wrong.message.split("\n")[0]?.replace(/:$/, "") ?? "it is not YAML"
  const parsed: unknown = document.toJS()
  const decoded = Option.getOrUndefined(Schema.decodeUnknownOption(Configuration)(parsed))
  if (decoded?.model_list == null) return "it has no model_list, so it is no configuration of a LiteLLM proxy"
  const reading = new Reading()
  decoded.model_list.forEach((deployment, index) => reading.deployment(deployment, index))
  const redis = cacheOf(reading, decoded.litellm_settings ?? {})
  const policies = policiesOf(reading, decoded.router_settings ?? {}, decoded.litellm_settings ?? {})
  reading.tidy()
  const { database_url, master_key, ...general } = decoded.general_settings ?? {}
  const database = isText(database_url) ? textOf(database_url) : undefined
  if (database !== undefined) {
    reading.note(
      "general_settings.database_url",
      "tables of its own are made there; LiteLLM's keys and spend are not read"
    )
  }
  reading.note("prices", "they and the budgets of clients are in USD, as in LiteLLM; without prices.currency, in CNY")
  const key = isText(master_key) ? textOf(master_key) : undefined
  const left = [
    ...Object.keys(general).map((name) => `general_settings.${name}`),
    ...Object.keys(parsed ?? {}).filter((name) => !Object.hasOwn(Configuration.fields, name))
  ]
  if (left.length > 0) reading.note("no counterpart", left.join(", "))
  const settings = {
    ...(key === undefined ? undefined : { clients: { master: { keys: [key] } }, admin: { keys: { master: [key] } } }),
    ...(database === undefined ? undefined : { database }),
    ...(redis === undefined ? undefined : { redis: { url: redis } }),
    providers: reading.providers,
    models: reading.models,
    prices: { currency: "USD", ...(reading.prices.length === 0 ? undefined : { list: reading.prices }) },
    ...(isEmpty(policies) ? undefined : { policies })
  }
  return { yaml: stringify(settings, { lineWidth: 0, aliasDuplicateObjects: false }), notes: reading.notes }
}
