/**
 * A stand-in for the DeepSeek service: it answers HTTP requests as the service does, with the same shapes, headers, texts and streaming
 * rules, but with made-up text, on a schedule of its own, and with faults on demand.
 *
 * The engine is a function from a request to an answer whose body is a timed stream of bytes. All time comes from the `Clock`, all chance
 * from the seed and the request, so a test under virtual time is quick and repeatable. `layerHttpClient` puts the engine behind
 * `HttpClient` without a network; `SimulatorServer` puts it behind a port.
 *
 * A chat holds one of the account's places from its arrival until its scope closes; interruption gives the place back at once.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as HttpClient from "effect/http/HttpClient"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Fault from "./Fault.ts"
import * as Account from "./internal/account.ts"
import { authorize } from "./internal/authorize.ts"
import * as ChatReply from "./internal/chatReply.ts"
import * as Draw from "./internal/draw.ts"
import * as Embeddings from "./internal/embeddings.ts"
import * as FaultPlan from "./internal/faultPlan.ts"
import * as Files from "./internal/files.ts"
import * as Fim from "./internal/fim.ts"
import * as Messages from "./internal/messages.ts"
import * as Models from "./internal/models.ts"
import { latencyOf } from "./internal/pace.ts"
import * as Refusal from "./internal/refusal.ts"
import * as Reply from "./internal/reply.ts"
import * as Responses from "./internal/responses.ts"
import * as Routes from "./internal/routes.ts"
import { ConnectionCut, type Inspection, Simulator, type SimulatorRequest } from "./internal/service.ts"
import * as Settings from "./internal/settings.ts"
import { execute } from "./internal/simulatedClient.ts"
import * as Timeline from "./internal/timeline.ts"
import * as WebTools from "./internal/webTools.ts"
import type { SimulatorOptions } from "./SimulatorOptions.ts"

export type { ChatSummary, Inspection, SimulatorRequest, SimulatorResponse } from "./internal/service.ts"
export { ConnectionCut, Simulator }

const filesAt = (path: string, files: ReturnType<typeof Files.make>): Routes.Routes => ({
  [`POST ${path}`]: { answer: files.upload },
  [`GET ${path}`]: { answer: files.list },
  [`GET ${path}/{id}`]: { answer: files.get },
  [`DELETE ${path}/{id}`]: { answer: files.delete }
})

/** The header with the key. Some endpoints take one of another name, where there is no `Authorization`. */
const authorizationOf = ({ headers }: SimulatorRequest, { takesApiKey = false }: Routes.Route): string | undefined => {
  const key = takesApiKey ? headers["x-api-key"] : undefined
  return headers.authorization ?? (key === undefined ? undefined : `Bearer ${key}`)
}

/**
 * Makes a simulator. A wrong option is a `RangeError`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(options: SimulatorOptions = {}) {
  const settings = Settings.resolve(options)
  const start = yield* Clock.currentTimeMillis
  const account = Account.make(settings)
  const faults = FaultPlan.make(settings.plan, settings.seed)
  const chat = ChatReply.make(settings, account)
  const statuses: Record<number, number> = {}
  let requests = 0

  const inspection = (): Inspection => {
    const running = account.running()
    return {
      requests,
      statuses: { ...statuses },
      inFlight: Object.values(running).reduce((sum, count) => sum + count, 0),
      peak: account.peak(),
      inFlightByModel: running,
      balance: account.balance()
    }
  }

  const { replayCheck } = settings
  const asked = (protocol: ChatReply.Protocol): Routes.Route => ({
    answer: (arrival, key) => chat(arrival, key, protocol),
    planned: true
  })
  const completions = (beta: boolean) => asked(ChatReply.chat({ beta, replayCheck }))
  const responses = asked(Responses.protocol(replayCheck))
  const messages: Routes.Route = { ...asked(Messages.protocol(replayCheck)), takesApiKey: true }
  const countTokens: Routes.Route = { answer: Messages.count(settings.keepAlive), takesApiKey: true }
  const files = Files.make(settings.keepAlive)
  const web = WebTools.make(settings)
  const embeddings: Routes.Route = { answer: Embeddings.make(settings), planned: true }
  const json = (value: () => unknown): Routes.Route["answer"] => ({ fault }) =>
    Reply.data(value(), fault, settings.keepAlive)
  const models: Routes.Route = { answer: json(() => Models.list) }
  const balance: Routes.Route = { answer: json(account.balance) }
  const routes: Routes.Routes = {
    "POST /chat/completions": completions(false),
    "POST /v1/chat/completions": completions(false),
    "POST /beta/chat/completions": completions(true),
    "POST /beta/completions": asked(Fim.protocol),
    "POST /responses": responses,
    "POST /v1/responses": responses,
    "POST /anthropic/v1/messages": messages,
    "POST /anthropic/messages": messages,
    "POST /anthropic/v1/messages/count_tokens": countTokens,
    ...filesAt("/files", files),
    ...filesAt("/v1/files", files),
    "POST /v1/tools/search": { answer: web.search },
    "POST /v1/tools/fetch": { answer: web.fetch },
    "POST /embeddings": embeddings,
    "POST /v1/embeddings": embeddings,
    "GET /models": models,
    "GET /v1/models": models,
    "GET /user/balance": balance,
    "GET /v1/user/balance": balance,
    "GET /__simulator/state": { answer: json(inspection), own: true }
  }

  const faultOf = (
    request: SimulatorRequest,
    route: Routes.Route | undefined,
    now: number
  ): Result.Result<Fault.Fault, string> => {
    const header = request.headers["x-simulate"]
    const planned = route?.planned === true ? faults.next(now - start) : {}
    return header === undefined ? Result.succeed(planned) : Result.map(Fault.parse(header), faults.own)
  }

  const serve = (route: Routes.Route | undefined, arrival: Reply.Arrival): Reply.Reply => {
    if (route?.own === true) return route.answer(arrival, "")
    const instead = Reply.instead(arrival, settings.keepAlive)
    if (instead !== undefined) return instead
    if (route === undefined) return Reply.refuse(Refusal.notFound, arrival)
    return Result.match(authorize(authorizationOf(arrival.request, route), settings.keys), {
      onFailure: (refusal) => Reply.refuse(refusal, arrival),
      onSuccess: (key) => route.answer(arrival, key)
    })
  }

  const decide = (request: SimulatorRequest, now: number, draw: Draw.Draw): Reply.Reply => {
    const route = Routes.find(routes, request.method, request.path)
    const arrival = { request, now, draw, requestId: Draw.uuid(draw), fault: {} }
    return Result.match(faultOf(request, route, now), {
      onFailure: (text) => Reply.refuse(Refusal.invalid(text), arrival),
      onSuccess: (fault) => serve(route, { ...arrival, fault })
    })
  }

  const answer = Effect.fnUntraced(function*(request: SimulatorRequest) {
    const draw = Draw.make(settings.seed, "request", ++requests, request.method, request.path)
    const traceId = Draw.hex32(draw)
    const reply = yield* Effect.acquireRelease(
      Effect.map(Clock.currentTimeMillis, (now) => decide(request, now, draw)),
      ({ family }) => Effect.sync(() => family && account.release(family))
    )
    const latency = latencyOf(settings, reply.fault, draw)
    if (latency > 0) yield* Effect.sleep(latency)
    if (reply.fault.cut === 0) return yield* new ConnectionCut()
    statuses[reply.status] = (statuses[reply.status] ?? 0) + 1
    const sent = yield* Clock.currentTimeMillis
    return {
      status: reply.status,
      chat: reply.chat,
      headers: Reply.headers(reply, traceId),
      body: Timeline.stream(reply.timeline, sent, new ConnectionCut())
    }
  })

  return Simulator.of({ answer, inspect: Effect.sync(inspection) })
})

/**
 * A simulator as a service.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: SimulatorOptions): Layer.Layer<Simulator> => Layer.effect(Simulator, make(options))

/**
 * An `HttpClient` that asks a simulator, whatever the host of the request. No socket is opened.
 *
 * @category layers
 * @since 0.1.0
 */
export const httpClient: Layer.Layer<HttpClient.HttpClient, never, Simulator> = Layer.effect(
  HttpClient.HttpClient,
  Effect.map(
    Simulator,
    ({ answer }) => HttpClient.make((request, url, signal) => execute(answer, request, url, signal))
  )
)

/**
 * An `HttpClient` with a simulator of its own behind it, which can be inspected as the service `Simulator`.
 *
 * **Example** (Asking the simulator)
 *
 * ```ts
 * import { Simulator } from "@ballast/simulator"
 * import { Effect } from "effect"
 * import { HttpClient } from "effect/http"
 *
 * const program = Effect.gen(function*() {
 *   const response = yield* HttpClient.get("https://api.deepseek.com/models", {
 *     headers: { authorization: "Bearer sk-simulated" }
 *   })
 *   return yield* response.json
 * })
 *
 * program.pipe(Effect.provide(Simulator.layerHttpClient({ latency: 0 })))
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerHttpClient = (options?: SimulatorOptions): Layer.Layer<HttpClient.HttpClient | Simulator> =>
  Layer.provideMerge(httpClient, layer(options))
