/**
 * What is particular to one host of models that speaks the OpenAI-like chat API: its name, where it is, how a key is sent, which
 * models it documents, and what of a request it does not take.
 *
 * A provider is plain data. `Source.make` calls it, and the policies around that read its documented limits.
 *
 * @since 0.1.0
 */
import type { ChatRequest, Message } from "@ballast/chat/ChatRequest"

/**
 * A host of models.
 *
 * @category models
 * @since 0.1.0
 */
export interface Provider {
  /** In spans and metrics (`gen_ai.provider.name`), and the first part of the names of policies; of low cardinality. */
  readonly name: string
  /** Where the service is: an http or https URL without user, query or fragment. */
  readonly baseUrl: string
  readonly paths: Paths
  /** The headers that carry a key. */
  readonly authorize: (key: string) => Readonly<Record<string, string>>
  /** The documented models. */
  readonly models: Readonly<Record<string, Model>>
  /** Whose rules a request must keep, and `Conversation` and `Preflight` hold it to. */
  readonly rules: "deepseek" | "none"
  /** Fields of a request that are not sent, for example because the service refuses them. */
  readonly omit: ReadonlyArray<string>
  /** Fields of a request that are sent where it has none of its own. */
  readonly defaults: Readonly<Record<string, unknown>>
}

/**
 * How much a model thinks.
 *
 * @category models
 * @since 0.1.0
 */
export type Effort = NonNullable<ChatRequest["reasoning_effort"]>

/**
 * What a provider documents of a model.
 *
 * @category models
 * @since 0.1.0
 */
export interface Model {
  /** Calls that an account may have in flight. */
  readonly concurrency?: number | undefined
  /** Names of reasoning efforts, each with the effort that it stands for. */
  readonly efforts?: Readonly<Record<string, Effort>> | undefined
  /** Whether Messages take the system prompt at the beginning only, as the list of models says (`leading-only`). Default `false`. */
  readonly leadingSystem?: boolean | undefined
}

/**
 * Where the endpoints are, below the base URL; those that begin with `/v1/`, `/beta/` or `/anthropic/` stand beside a base URL that ends in
 * `/v1` or `/beta`. One whose path is undefined is not there: a call of it fails with `NotFound`, and sends
 * nothing. A request of Messages or Responses is sent as chat then, see `Native`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Paths {
  readonly chat: string
  /**
   * Below the host: chat with prefix completion and strict tools, where these need a path of their own. It is used where the base URL has
   * no path, or `/v1`. Where there is none, a stream that breaks does not go on (`Resume`).
   */
  readonly beta: string | undefined
  readonly models: string | undefined
  readonly balance: string | undefined
  /** Anthropic's Messages. */
  readonly messages: string | undefined
  /** How many input tokens a request of Messages has. */
  readonly countTokens: string | undefined
  /** OpenAI's Responses. */
  readonly responses: string | undefined
  /** Completions of a text with an optional suffix (FIM). */
  readonly completions: string | undefined
  /** Vectors of texts, as OpenAI has them. */
  readonly embeddings: string | undefined
  readonly files: string | undefined
  /** Web search without a model. */
  readonly search: string | undefined
  /** The text of a web page. */
  readonly fetch: string | undefined
}

/**
 * Options of a provider.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options extends Pick<Provider, "name" | "baseUrl"> {
  /** Default `/chat/completions`, `/models`, and nothing else. */
  readonly paths?: Partial<Paths> | undefined
  /** Default `authorization: Bearer <key>`. */
  readonly authorize?: Provider["authorize"] | undefined
  /** Default none. */
  readonly models?: Provider["models"] | undefined
  /** Default `none`. */
  readonly rules?: Provider["rules"] | undefined
  /** Default none. */
  readonly omit?: Provider["omit"] | undefined
  /** Default none. */
  readonly defaults?: Provider["defaults"] | undefined
}

const onlyChat: Paths = {
  chat: "/chat/completions",
  beta: undefined,
  models: "/models",
  balance: undefined,
  messages: undefined,
  countTokens: undefined,
  responses: undefined,
  completions: undefined,
  embeddings: undefined,
  files: undefined,
  search: undefined,
  fetch: undefined
}

const bearer: Provider["authorize"] = (key) => ({ authorization: `Bearer ${key}` })

/**
 * Creates a provider.
 *
 * **Example** (A host of one's own)
 *
 * ```ts
 * import { Provider } from "@ballast/deepseek"
 *
 * const local = Provider.make({
 *   name: "local",
 *   baseUrl: "http://127.0.0.1:8000/v1",
 *   models: { "qwen3-8b": { concurrency: 16 } },
 *   omit: ["thinking"]
 * })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options): Provider => ({
  name: options.name,
  baseUrl: options.baseUrl,
  paths: { ...onlyChat, ...options.paths },
  authorize: options.authorize ?? bearer,
  models: options.models ?? {},
  rules: options.rules ?? "none",
  omit: options.omit ?? [],
  defaults: options.defaults ?? {}
})

/** What DeepSeek's guide calls efforts beside `none`, `low`, `high` and `max`. Its service refuses `ultra`. */
const efforts = { minimal: "low", medium: "high", xhigh: "high", ultra: "max" } as const

/**
 * DeepSeek itself.
 *
 * @see {@link https://api-docs.deepseek.com/quick_start/rate_limit}
 * @see {@link https://api-docs.deepseek.com/guides/thinking_mode}
 * @category providers
 * @since 0.1.0
 */
export const deepSeek: Provider = make({
  name: "deepseek",
  baseUrl: "https://api.deepseek.com",
  paths: {
    beta: "/beta/chat/completions",
    balance: "/user/balance",
    messages: "/anthropic/v1/messages",
    countTokens: "/anthropic/v1/messages/count_tokens",
    responses: "/responses",
    completions: "/beta/completions",
    files: "/files",
    search: "/v1/tools/search",
    fetch: "/v1/tools/fetch"
  },
  rules: "deepseek",
  models: {
    "deepseek-flash": { concurrency: 2500, efforts },
    "deepseek-v4-pro": { concurrency: 500, efforts, leadingSystem: true },
    "deepseek-v4-flash": { efforts },
    "deepseek-v4-flash-vision-exp": { efforts }
  }
})

/**
 * The request as the provider takes it: without what it does not take, with its defaults; the very same where nothing has to change.
 *
 * @category combinators
 * @since 0.1.0
 */
export const adapt = (provider: Provider, request: ChatRequest): ChatRequest => {
  const omitted = provider.omit.filter((field) => field in request)
  const missing = Object.entries(provider.defaults).filter(([field]) => !(field in request))
  if (omitted.length === 0 && missing.length === 0) return request
  const adapted = { ...request, ...Object.fromEntries(missing) }
  for (const field of omitted) Reflect.deleteProperty(adapted, field)
  return adapted
}

/**
 * The beginning of its answer that a request ends with; undefined where it has none.
 *
 * @category accessors
 * @since 0.1.0
 */
export const prefixOf = ({ messages }: ChatRequest): Extract<Message, { readonly role: "assistant" }> | undefined => {
  const last = Array.isArray(messages) ? messages[messages.length - 1] : undefined
  return last?.role === "assistant" && last.prefix === true ? last : undefined
}

/**
 * The path of prefix completion and strict tools at this base URL, below the host; undefined where there is none.
 *
 * @category accessors
 * @since 0.1.0
 */
export const betaPath = ({ paths }: Pick<Provider, "paths">, url: URL): string | undefined => {
  if (paths.beta === undefined) return undefined
  if (/^\/(?:v1\/?)?$/.test(url.pathname)) return paths.beta
  const chat = url.pathname.replace(/\/+$/, "") + paths.chat
  return chat === paths.beta ? chat : undefined
}
