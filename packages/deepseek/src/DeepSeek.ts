/**
 * The DeepSeek service: chat completions, whole or streamed, the list of models, the account's balance and files, web search and pages.
 *
 * Every call goes through the policies of its model (`Lane`): a total deadline, retries, a circuit breaker, a concurrency limit, and
 * deadlines of the attempt. They are kept for each model apart (`PerModel`): for the models that the documentation or the options name,
 * and for others that the service has answered to. One span covers the call, and one each attempt. Interrupting a call, or stopping to
 * consume its stream, aborts the HTTP request at once. `source` is the service without any of that.
 *
 * @since 0.1.0
 */
import type { Balance } from "@ballast/chat/Balance"
import type * as ChatError from "@ballast/chat/ChatError"
import type { ChatModel } from "@ballast/chat/ChatModel"
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import type * as Messages from "@ballast/chat/Messages"
import * as MessagesChat from "@ballast/chat/MessagesChat"
import type { ModelList } from "@ballast/chat/ModelList"
import * as Policy from "@ballast/resilience/Policy"
import * as Registry from "@ballast/resilience/Registry"
import type * as Retry from "@ballast/resilience/Retry"
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as HttpClient from "effect/http/HttpClient"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as ChatObject from "./ChatObject.ts"
import type * as Fetch from "./Fetch.ts"
import * as Files from "./Files.ts"
import * as Lane from "./Lane.ts"
import * as PerModel from "./PerModel.ts"
import * as Provider from "./Provider.ts"
import type * as Search from "./Search.ts"
import * as Source from "./Source.ts"

/**
 * Why a call failed: the service or the way there, or a policy that rejected it.
 *
 * @category errors
 * @since 0.1.0
 */
export type CallError = Lane.CallError

/**
 * The DeepSeek service.
 *
 * @category services
 * @since 0.1.0
 */
export class DeepSeek extends Context.Service<
  DeepSeek,
  ChatModel<CallError> & {
    /** Reads the list of models that the service offers. */
    readonly models: Effect.Effect<ModelList, CallError>
    /** Reads what is left of the account's money. */
    readonly balance: Effect.Effect<Balance, CallError>
    /** Files of the account. An upload is tried once. */
    readonly files: Files.Files<CallError>
    /** Searches the web. */
    readonly search: (request: Search.Request) => Effect.Effect<Search.Results, CallError>
    /** Reads a web page. */
    readonly fetch: (request: Fetch.Request) => Effect.Effect<Fetch.Page, CallError>
    /** Asks for an answer in Anthropic's Messages. */
    readonly messages: (request: Messages.Request) => Effect.Effect<Messages.Answer, CallError>
    /** Asks for it in events. */
    readonly messagesStream: (request: Messages.Request) => Stream.Stream<Messages.Event, CallError>
    /** Asks how many input tokens a request of Messages has. */
    readonly countTokens: (
      request: Omit<Messages.Request, "max_tokens">
    ) => Effect.Effect<Messages.TokenCount, CallError>
  }
>()("@ballast/deepseek/DeepSeek") {}

export { CurrentHeaders } from "./Source.ts"

/**
 * Asks for a value of a schema: a strict tool or JSON mode, whichever the model allows, and again where the answer is none; `ChatObject` has
 * the rule.
 *
 * @category accessors
 * @since 0.1.0
 */
export const object = <S extends Schema.Constraint>(
  schema: S,
  request: ChatRequest,
  options?: ChatObject.Options
): Effect.Effect<S["Type"], CallError | ChatObject.ObjectError, DeepSeek | S["DecodingServices"]> =>
  Effect.flatMap(
    DeepSeek,
    (model) => Effect.map(ChatObject.complete(model, schema, request, options), ({ value }) => value)
  )

/**
 * Asks for a value of a schema, and gives it as it comes; `ChatObject.stream` has the rule.
 *
 * @category accessors
 * @since 0.1.0
 */
export const objectStream = <S extends Schema.Constraint>(
  schema: S,
  request: ChatRequest,
  options?: ChatObject.Options
): Stream.Stream<
  ChatObject.Part<S["Type"], S["Encoded"]>,
  CallError | ChatObject.ObjectError,
  DeepSeek | S["DecodingServices"]
> => Stream.unwrap(Effect.map(DeepSeek, (model) => ChatObject.stream(model, schema, request, options)))

/**
 * How many calls of a model may be in flight.
 *
 * @category options
 * @since 0.1.0
 */
export interface ConcurrencyOptions extends Omit<Lane.ConcurrencyOptions, "limit"> {
  /** Calls by model, each at least 1. Default: what the service allows an account, `deepseek-flash` 2,500 and `deepseek-v4-pro` 500. */
  readonly models?: Readonly<Record<string, number>> | undefined
  /** Calls of each other model, and of all names that the service has not answered to yet, at least 1. Default 500. */
  readonly others?: number | undefined
}

/**
 * Deadlines, each above zero, or `false` for none.
 *
 * @category options
 * @since 0.1.0
 */
export interface DeadlineOptions extends Lane.DeadlineOptions {
  /** Of one attempt to read models, balance or what is known of files, and of one search. Default 30 seconds. */
  readonly lookup?: Duration.Input | false | undefined
  /** Of one attempt to read a web page. Default 5 minutes. */
  readonly fetch?: Duration.Input | false | undefined
  /** Of an upload. Default 10 minutes, the service's own. */
  readonly upload?: Duration.Input | false | undefined
}

/**
 * What of the options needs no key.
 *
 * @category options
 * @since 0.1.0
 */
export interface PolicyOptions extends Lane.Policies, Pick<Source.Options, "preflight"> {
  /** Name of the client in spans and metrics, and first part of its policies' names. Default: the provider's. */
  readonly name?: string | undefined
  /** Of each model; a limit that the service states lowers it. */
  readonly concurrency?: ConcurrencyOptions | false | undefined
  readonly deadlines?: DeadlineOptions | false | undefined
  /** What is called in place of DeepSeek. Default `Provider.deepSeek`. */
  readonly provider?: Provider.Provider | undefined
  /**
   * Whether building the layer starts to read the list of models, once and in the background, so that a connection with its TLS is there for
   * the first call; an idle one is kept for 20 seconds. It costs nothing. A failure is a line at `Debug`, and does no harm otherwise.
   * Default `false`.
   */
  readonly warmUp?: boolean | undefined
}

/**
 * Options of the client. A policy set to `false` is left out.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options extends PolicyOptions, SourceOptions {}

/**
 * Options of the bare source.
 *
 * @category options
 * @since 0.1.0
 */
export interface SourceOptions extends Omit<Source.Options, "provider"> {
  /** Default `Provider.deepSeek`. */
  readonly provider?: Provider.Provider | undefined
}

/**
 * What is used where `Options` say nothing; `Lane.defaults` has the rest.
 *
 * @category options
 * @since 0.1.0
 */
export const defaults = {
  ...Lane.defaults,
  provider: Provider.deepSeek,
  deadlines: { ...Lane.defaults.deadlines, lookup: "30 seconds", fetch: "5 minutes", upload: "10 minutes" },
  warmUp: false
} as const

/** All names that have no lane of their own. */
const others = "other"

/**
 * The service without policies, spans and metrics: each call is one attempt.
 *
 * @category constructors
 * @since 0.1.0
 */
export const source = (options: SourceOptions): Effect.Effect<Source.Source, never, HttpClient.HttpClient> =>
  Effect.suspend(() => Source.make({ ...options, provider: options.provider ?? defaults.provider }))

/**
 * Provides `DeepSeek` on the `HttpClient` at hand: `Undici.layer` is the one to choose on Node.
 *
 * **Details**
 *
 * Building the layer dies of a `RangeError` when an option is out of its bounds. The policies are in the registry at hand as long as
 * the layer lives. A second client of the same name is called `<name>-2`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options): Layer.Layer<DeepSeek, never, HttpClient.HttpClient> =>
  Layer.effect(DeepSeek, make(options))

const make = Effect.fnUntraced(function*(given: Options) {
  const bare = yield* source(given)
  const name = yield* (yield* Registry.Current).claim(given.name ?? bare.provider.name)
  const options: Options & { readonly name: string } = {
    ...given,
    name,
    retry: (yield* Lane.retryOf(name, given)) ?? false
  }
  const lane = (model: string) => Lane.make(bare, laneOptions(options, bare.provider, model))
  const chat = yield* PerModel.make({
    names: namesOf(options, bare.provider),
    make: lane,
    // Names without an answer yet have no health of their own, and their failures must not be each other's.
    others: yield* Lane.make(bare, { ...laneOptions(options, bare.provider, others), circuitBreaker: false })
  })
  return DeepSeek.of({
    ...chat,
    ...yield* lookups(bare, options),
    messages: (request) => MessagesChat.create(chat, request),
    messagesStream: (request) => MessagesChat.stream(chat, request),
    countTokens: (request) => MessagesChat.countTokens(chat, request)
  })
})

const namesOf = (options: Options, provider: Provider.Provider): ReadonlyArray<string> => [
  ...Object.keys(provider.models),
  ...Object.keys((options.concurrency === false ? undefined : options.concurrency?.models) ?? {})
]

const laneOptions = ({ concurrency, ...options }: Options, provider: Provider.Provider, model: string) => ({
  ...options,
  model,
  concurrency: concurrency === false ? concurrency : { ...concurrency, limit: limitOf(concurrency, provider, model) }
})

/** Limits by model that are given take the place of all that are documented. */
const limitOf = (given: ConcurrencyOptions | undefined, { models }: Provider.Provider, model: string) => {
  const stated = given?.models === undefined
    ? Object.hasOwn(models, model) ? models[model]?.concurrency : undefined
    : Object.hasOwn(given.models, model)
    ? given.models[model]
    : undefined
  return stated ?? given?.others ?? defaults.concurrency.limit
}

/** All that is no chat: under a total deadline, a deadline of the attempt, and retries where the call may be made again. */
const lookups = Effect.fnUntraced(function*(bare: Source.Source, options: Options & { readonly name: string }) {
  const { deadlines, name: owner } = options
  const registry = yield* Registry.Current
  const deadline = (kind: "total" | "lookup" | "fetch" | "upload", most?: Duration.Duration) =>
    Lane.resolveDeadline(deadlines === false ? false : deadlines?.[kind], defaults.deadlines[kind], most)
  const total = deadline("total")
  const retry = yield* Lane.retryOf(owner, options)
  const policyOf = Effect.fnUntraced(function*(kind: "lookup" | "fetch" | "upload", retry?: Retry.Options) {
    const name = `${owner}/${kind}`
    const attempt = deadline(kind, total)
    return yield* Policy.common<ChatError.TransportError>({ name, error: Lane.deadlineError, attempt, total, retry })
  })
  const registered = Effect.fnUntraced(function*(kind: "lookup" | "fetch" | "upload", retry?: Retry.Options) {
    const policy = yield* policyOf(kind, retry)
    yield* registry.register(owner, `${owner}/${kind}`, policy.parts)
    return policy
  })
  const lookup = yield* registered("lookup", retry)
  const fetch = yield* registered("fetch", retry)
  const upload = yield* registered("upload")
  if (options.warmUp ?? defaults.warmUp) {
    // Once only: no call waits for it, and the first call tries for itself.
    const once = yield* policyOf("lookup")
    yield* Effect.forkScoped(
      Effect.catch(
        once(bare.models),
        (error) => Effect.logDebug(`The connection to ${bare.provider.name} could not be warmed up`, error)
      )
    )
  }
  const span = (name: string) => Effect.withSpan(`DeepSeek.${name}`, { kind: "client" })
  return {
    models: span("models")(lookup(bare.models)),
    balance: span("balance")(lookup(bare.balance)),
    files: Files.withPolicy<ChatError.ChatError, CallError>(bare.files, {
      lookup: (self) => span("files")(lookup(self)),
      upload: (self) => span("files.upload")(upload(self))
    }),
    search: (request: Search.Request) => span("search")(lookup(bare.search(request))),
    fetch: (request: Fetch.Request) => span("fetch")(fetch(bare.fetch(request)))
  }
})

/**
 * Provides `DeepSeek` with the key in `DEEPSEEK_API_KEY` and the URL in `DEEPSEEK_BASE_URL` (default
 * `https://api.deepseek.com`), and policies as the options say.
 *
 * **Details**
 *
 * Fails when the key is missing, or a value is wrong: the text names the variable and what it should be, and does not show the value.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options?: PolicyOptions
): Layer.Layer<DeepSeek, Config.ConfigError, HttpClient.HttpClient> =>
  Layer.effect(
    DeepSeek,
    Effect.gen(function*() {
      const { apiKey, baseUrl } = yield* settings
      return yield* make({ ...options, apiKey, baseUrl: Option.getOrUndefined(baseUrl) })
    })
  )

/** A variable of the environment. A file or a shell leaves a line end behind. */
const setting = <A>(name: string, expected: string, parse: (text: string) => A | undefined): Config.Config<A> =>
  Config.mapEffect(Config.String(name), (text) => {
    const value = parse(text.trim())
    const message = `${name} has a wrong value. Expected ${expected}.`
    return value === undefined
      ? Effect.fail(new Config.ConfigError(new ConfigProvider.SourceError({ message })))
      : Effect.succeed(value)
  })

const settings = Config.all({
  apiKey: setting("DEEPSEEK_API_KEY", Source.usableKey, (text) => Source.isKey(text) ? Redacted.make(text) : undefined),
  baseUrl: Config.option(
    setting("DEEPSEEK_BASE_URL", `${Source.usableUrl}, for example ${Provider.deepSeek.baseUrl}`, Source.parseUrl)
  )
})
