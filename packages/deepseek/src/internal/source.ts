import * as AnswerMemory from "@ballast/chat/AnswerMemory"
import { Balance } from "@ballast/chat/Balance"
import * as ChatError from "@ballast/chat/ChatError"
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import { ModelList } from "@ballast/chat/ModelList"
import * as Native from "@ballast/chat/Native"
import type * as WireText from "@ballast/chat/WireText"
import * as Layered from "@ballast/resilience/Layered"
import * as Carrier from "@ballast/telemetry/Carrier"
import * as GenAi from "@ballast/telemetry/GenAi"
import * as Propagation from "@ballast/telemetry/Propagation"
import * as Channel from "effect/Channel"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import { constTrue } from "effect/Function"
import * as Headers from "effect/http/Headers"
import * as HttpBody from "effect/http/HttpBody"
import * as HttpClient from "effect/http/HttpClient"
import type { HttpClientError } from "effect/http/HttpClientError"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import type { HttpClientResponse } from "effect/http/HttpClientResponse"
import * as UrlParams from "effect/http/UrlParams"
import * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Conversation from "../Conversation.ts"
import * as Fetch from "../Fetch.ts"
import * as Files from "../Files.ts"
import * as Preflight from "../Preflight.ts"
import * as Provider from "../Provider.ts"
import * as Search from "../Search.ts"
import * as answers from "./answer.ts"
import * as chatPaths from "./chatPath.ts"
import * as chunks from "./chunks.ts"
import * as decode from "./decode.ts"
import * as errors from "./errors.ts"
import * as nativeRules from "./nativeRules.ts"
import * as protocols from "./protocol.ts"
import * as requests from "./request.ts"
import { unfit } from "./unfit.ts"
import * as whole from "./whole.ts"

/** Extra headers of the requests of a fiber. */
export const CurrentHeaders: Context.Reference<Readonly<Record<string, string>>> = Context.Reference(
  "@ballast/deepseek/DeepSeek/CurrentHeaders",
  { defaultValue: () => ({}) }
)

const json = "application/json"
const events = "text/event-stream"

/** `preflight` says whether the chat is held to the provider's rules before it is sent. */
export const make = (
  client: HttpClient.HttpClient,
  provider: Provider.Provider,
  secret: string,
  url: URL,
  preflight: boolean | Preflight.Options
) => {
  const { paths } = provider
  const baseUrl = url.href.replace(/\/+$/, "")
  const pathOf = chatPaths.make(provider, url)
  const chatOf = (request: ChatRequest): string => url.origin + pathOf(request)
  const isStrict = Provider.betaPath(provider, url) !== undefined
  const rules = preflight === false || provider.rules === "none"
    ? undefined
    : preflight === true
    ? { strict: isStrict }
    : { strict: isStrict, ...preflight }
  // Paths of a version stand beside a base URL of one.
  const root = baseUrl.replace(/\/(?:v1|beta)$/, "")
  const urlOf = (path: string): string => (/^\/(?:v1|beta|anthropic)\//.test(path) ? root : baseUrl) + path
  const own = { ...provider.authorize(secret), "user-agent": "ballast" }

  /** Sends a request. Succeeds with any answer whose status is 2xx. */
  const send = (
    method: string,
    url: string,
    accept: string,
    body: HttpBody.HttpBody,
    further?: Readonly<Record<string, string>>
  ) =>
    Effect.withFiber((fiber) => {
      const headers: Record<string, string> = { ...fiber.getRef(CurrentHeaders), ...further, ...own, accept }
      if (body._tag === "Uint8Array" || body._tag === "Stream") headers["content-type"] = body.contentType
      if (body._tag === "Stream" && body.contentLength !== undefined) {
        headers["content-length"] = String(body.contentLength)
      }
      if (fiber.getRef(HttpClient.TracerPropagationEnabled)) Propagation.injectUnsafe(fiber, headers, Carrier.record)
      const request = HttpClientRequest.makeWith(
        method,
        url,
        UrlParams.empty,
        Option.none(),
        Headers.fromInput(headers),
        body
      )
      // Our own spans stand for the request.
      const response = Effect.provideService(client.execute(request), HttpClient.TracerDisabledWhen, constTrue)
      return Effect.flatMap(Effect.catch(response, unanswered), (response) => {
        annotate(fiber, response)
        const answer = { response, secret }
        return response.status >= 200 && response.status < 300 ? Effect.succeed(answer) : answers.refused(answer)
      })
    })

  const call = <A>(
    method: string,
    path: string | undefined,
    body: HttpBody.HttpBody,
    read: (text: string) => A | WireText.Unreadable
  ): Effect.Effect<A, ChatError.ChatError> =>
    path === undefined
      ? Effect.fail(absent(provider))
      : Effect.flatMap(send(method, urlOf(path), json, body), (answer) => answers.read(answer, read))

  const get = <A>(path: string | undefined, schema: Schema.Codec<A>) =>
    call("GET", path, HttpBody.empty, decode.json(schema))

  /** Posts what has no problem. */
  const post = <A, B>(
    path: string | undefined,
    schema: Schema.Codec<B>,
    problem: (request: A) => string | undefined
  ) => {
    const read = decode.json(schema)
    return (request: A): Effect.Effect<B, ChatError.ChatError> =>
      Effect.suspend(() => {
        const detail = problem(request)
        return detail === undefined
          ? call("POST", path, HttpBody.text(JSON.stringify(request), json), read)
          : Effect.fail(unfit(detail))
      })
  }

  /** Sends the chat as the provider's rules have it; fails with the error that it would be refused with, where that is sure. */
  const mending = (
    request: ChatRequest,
    send: (request: ChatRequest) => Effect.Effect<answers.Answer, ChatError.ChatError>
  ): Effect.Effect<answers.Answer, ChatError.ChatError> =>
    Effect.suspend(() => {
      const chat = Conversation.mend(Provider.adapt(provider, request), provider)
      const problem = rules && Preflight.check(chat, rules)
      return problem === undefined ? send(chat) : Effect.fail(Preflight.toError(problem))
    })

  const asChat = (request: ChatRequest) => (answer: answers.Answer): protocols.Answered => ({
    answer: Provider.prefixOf(request) === undefined ? answer : { ...answer, mayBeEmpty: true },
    protocol: protocols.chat
  })

  // Learned from the service, and kept.
  const unspoken = new Set<Native.Protocol>()

  const mended = (body: Native.Native["body"], model: string, { mend }: protocols.Protocol) => {
    if (provider.rules !== "deepseek" || mend === undefined) return body
    return mend(body, (Object.hasOwn(provider.models, model) ? provider.models[model] : undefined) ?? {})
  }

  /** Sends the native request where there is one and the service speaks its protocol, else the chat. */
  const ask = (
    request: ChatRequest,
    accept: typeof json | typeof events,
    chat: Effect.Effect<answers.Answer, ChatError.ChatError>
  ): Effect.Effect<protocols.Answered, ChatError.ChatError> => {
    const native = Native.of(request)
    if (native === undefined) return Effect.map(chat, asChat(request))
    const { protocol: name } = native
    const translated = native.only === true ? Effect.fail(absent(provider)) : Effect.map(chat, asChat(request))
    const path = unspoken.has(name) ? undefined : paths[name]
    const protocol = protocols.of(name)
    if (path === undefined || protocol === undefined) return translated
    const fit = mended(native.body, request.model, protocol)
    const problem = rules && nativeRules.problem(name, fit)
    if (problem !== undefined) return Effect.fail(Preflight.toError(problem))
    const body = requests.native(fit, request.model, accept === events)
    return Effect.matchEffect(send("POST", urlOf(path), accept, body, { ...protocol.headers, ...native.headers }), {
      onSuccess: (answer) => Effect.succeed({ answer, protocol }),
      // What is not found may also be something that the request names: only an answer to the chat tells.
      onFailure: (error) =>
        isNotFound(error) && native.only !== true
          ? Effect.tap(translated, () => {
            unspoken.add(name)
            return Effect.logWarning(`${provider.name} has no ${path}: requests of this protocol are sent as chat`)
          })
          : Effect.fail(error)
    })
  }

  const complete = (request: ChatRequest) =>
    Effect.suspend(() => {
      const chat = mending(request, (chat) => send("POST", chatOf(chat), json, requests.whole(chat)))
      return Effect.flatMap(ask(request, json, chat), whole.completion)
    })

  let takesUsage = !provider.omit.includes("stream_options")

  /** Sends a request for a stream. A service that does not know the wish for usage is asked again, without it. */
  const open = (request: ChatRequest) => {
    const sent = (body: HttpBody.HttpBody) => send("POST", chatOf(request), events, body)
    const { asksForUsage, body } = requests.streamed(request, takesUsage)
    if (!asksForUsage) return sent(body)
    return Effect.catch(sent(body), (error) => {
      if (!refusesUsage(error)) return Effect.fail(error)
      takesUsage = false
      return sent(requests.streamed(request, false).body)
    })
  }

  const stream = (request: ChatRequest) =>
    Layered.stream((scope) =>
      Effect.sync(() => {
        const choices = requests.choices(request)
        const first = Effect.flatMap(
          ask(request, events, mending(request, open)),
          (answered): chunks.ChunkPull =>
            Effect.flatMap(
              Channel.toPullScoped(Stream.toChannel(answered.answer.response.stream), scope),
              (bytes) => Effect.flatMap(held(scope), (hold) => pull = chunks.fromBytes(answered, bytes, choices, hold))
            )
        )
        // What opens the stream holds the request; from the first chunk on it is not needed.
        let pull: chunks.ChunkPull = first
        return Layered.switching(() => pull)
      })
    )

  return {
    complete,
    stream,
    models: get(paths.models, ModelList),
    balance: get(paths.balance, Balance),
    files: Files.make((method, path, body, read) => call(method, paths.files && paths.files + path, body, read)),
    search: post(paths.search, Search.Results, Search.problem),
    fetch: post(paths.fetch, Fetch.Page, Fetch.problem)
  }
}

const held = (scope: Scope.Scope) => Effect.flatMap(AnswerMemory.Current, (memory) => memory.hold(scope))

const absent = ({ name }: Provider.Provider) =>
  new ChatError.ClientError({
    reason: new ChatError.NotFound({ status: 404, detail: `${name} has no such endpoint`, stated: false })
  })

const isNotFound = (error: ChatError.ChatError): boolean =>
  error._tag === "ClientError" && error.reason._tag === "NotFound"

/** Whether a service refuses a request because of the wish for usage. */
const refusesUsage = (error: ChatError.ChatError): boolean =>
  error._tag === "ClientError" && error.reason._tag === "InvalidRequest" &&
  /stream_options|include_usage/.test(error.reason.detail)

/** Undoes a client that was told to refuse statuses, and dies of requests that no service has seen: those are our mistakes. */
const unanswered = ({ reason }: HttpClientError): Effect.Effect<HttpClientResponse, ChatError.TransportError> => {
  switch (reason._tag) {
    case "StatusCodeError":
      return Effect.succeed(reason.response)
    case "InvalidUrlError":
    case "EncodeError":
      return Effect.die(new Error(reason.message))
    default:
      return errors.codeOf(reason) === "UND_ERR_INVALID_ARG"
        ? Effect.die(new Error("The request could not be sent: a header is not valid"))
        : Effect.fail(errors.fromTransport(reason))
  }
}

const annotate = (fiber: Fiber.Fiber<unknown, unknown>, response: HttpClientResponse): void => {
  const span = fiber.cache.span
  if (span?._tag !== "Span") return
  span.attribute(GenAi.Attribute.httpStatus, response.status)
  const traceId = response.headers["x-ds-trace-id"]
  if (traceId !== undefined) span.attribute(GenAi.Attribute.upstreamTraceId, traceId)
}
