/**
 * Local models by the Open Inference Protocol, version 2, as clients of KServe and Triton speak it.
 *
 * | route | answer |
 * |---|---|
 * | `GET /v2` | name, version and extensions of the server |
 * | `GET /v2/health/live`, `/v2/health/ready` | whether it lives, and whether no model is being loaded for the first time |
 * | `GET /v2/models/{name}`, `…/versions/{version}` | what a model takes and gives |
 * | `GET …/ready` | whether it takes calls |
 * | `POST …/infer` | the outputs for given inputs, as JSON or as binary tensors |
 * | `POST /v2/repository/index` | all versions with their states |
 *
 * Errors are `{"error": "…"}`. An inference is a call like any other: it has a client with limits and a budget, a span, a line of the log, metrics and a
 * row of the ledger, whose provider is `local`. It has no tokens; its cost is what the prices of `local` say of a call, else nothing.
 *
 * @see {@link https://github.com/kserve/open-inference-protocol}
 * @since 0.1.0
 */
import type { InferenceError } from "@ballast/inference/InferenceError"
import type * as Models from "@ballast/inference/Models"
import * as OpenInference from "@ballast/inference/OpenInference"
import * as CallInfo from "@ballast/resilience/CallInfo"
import * as RouteInfo from "@ballast/router/RouteInfo"
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type * as Body from "./Body.ts"
import * as Client from "./Client.ts"
import * as ClientDeadline from "./ClientDeadline.ts"
import type { ClientLimits } from "./ClientLimits.ts"
import * as Costs from "./Costs.ts"
import type { Failure } from "./ErrorResponse.ts"
import * as Exchange from "./Exchange.ts"
import * as tensorBody from "./internal/tensorBody.ts"
import * as TensorThread from "./internal/tensorThread.ts"
import { Rejection } from "./Rejection.ts"
import type { Handler, Route } from "./Routes.ts"
import { version } from "./Version.ts"

type Service = Models.Models["Service"]

const json = (value: object, status = 200) => HttpServerResponse.jsonUnsafe(value, { status })

const dialect = {
  error: ({ body }: { readonly body: { readonly error: { readonly message: string } } }) =>
    JSON.stringify({ error: body.error.message })
}

const cases = {
  UnknownModel: "ModelNotFound",
  NotReady: "LocalModelNotReady",
  Refused: "LocalModelNotReady",
  InvalidInput: "InvalidField",
  Overloaded: "LocalModelBusy",
  DeadlineExceeded: "LocalModelTooSlow",
  ModelFailed: "LocalModelFailed"
} as const satisfies Record<InferenceError["reason"], Rejection["case"]>

/**
 * How the gateway refuses what a local model failed with.
 *
 * @category errors
 * @since 0.1.0
 */
export const rejectionOf = (error: InferenceError): Rejection =>
  new Rejection({
    case: cases[error.reason],
    detail: error.message,
    ...(error.where !== undefined && { param: error.where })
  })

const tensors: Body.Kind = {
  type: /^application\/(?:json|octet-stream) *(?:;|$)/i,
  expected: "Send JSON with the header \"content-type: application/json\", or JSON and binary tensors with " +
    `"content-type: application/octet-stream" and "${OpenInference.lengthHeader}".`,
  bounds: tensorBody.bounds,
  parse: OpenInference.parse
}

/** Where the JSON ends: at the end, unless the header says otherwise. */
const jsonLength = ({ headers }: HttpServerRequest, size: number): Result.Result<number, Rejection> => {
  const given = headers[OpenInference.lengthHeader]
  if (given === undefined) return Result.succeed(size)
  const length = /^\d{1,10}$/.test(given) ? Number(given) : Infinity
  return length <= size ? Result.succeed(length) : Result.fail(
    new Rejection({
      case: "InvalidField",
      param: OpenInference.lengthHeader,
      detail: `The header ${OpenInference.lengthHeader} must be a whole number up to the ${size} bytes of the body.`
    })
  )
}

const hereOrRefused = <A>(done: Result.Result<A, tensorBody.Problem>) =>
  Effect.mapError(Effect.fromResult(done), (problem) => new Rejection(problem))

const requestOf = Effect.fnUntraced(
  function*({ bodies, thread }: Pick<Options, "bodies" | "thread">, request: HttpServerRequest) {
    const { bytes, json, reserve } = yield* bodies.bytes(request, tensors)
    const length = yield* Effect.fromResult(jsonLength(request, bytes.length))
    if (length > TensorThread.mostBytes) return yield* Effect.andThen(reserve, thread.read(bytes, length))
    const body = yield* json(bytes.subarray(0, length))
    return yield* hereOrRefused(tensorBody.decode(body.json, bytes.subarray(length)))
  }
)

/** Whether an output is written as JSON. */
const isJson = ({ binary, outputs }: OpenInference.Request): boolean =>
  outputs === undefined ? !binary : outputs.some(({ binary }) => !binary)

const elementsOf = ({ outputs }: OpenInference.Inferred): number =>
  Object.values(outputs).reduce((sum, { data }) => sum + data.length, 0)

const responseOf = ({ body, json }: tensorBody.Written) =>
  HttpServerResponse.uint8Array(body, {
    contentType: json === undefined ? "application/json" : "application/octet-stream",
    ...(json !== undefined && { headers: { [OpenInference.lengthHeader]: String(json) } })
  })

/** The model of a path, for a client that may ask for it. */
const named = (exchange: Exchange.Exchange) => {
  const { client, params: { name = "", version } } = exchange
  return Client.mayUse(client, name)
    ? Effect.succeed({ name, version })
    : Effect.fail(Client.modelRefused(client, name))
}

/**
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly models: Service
  readonly bodies: Body.Bodies
  readonly costs: Costs.Costs
  readonly limits: ClientLimits
  readonly thread: TensorThread.TensorThread
}

/** One run, which is told the exchange as an attempt at a service is. */
const run = (exchange: Exchange.Exchange, call: CallInfo.CallInfo, effect: ReturnType<Service["infer"]>) =>
  Effect.contextWith((context: Context.Context<never>) => {
    const began = exchange.calledAt = Exchange.now(context)
    call.attempts = 1
    return Effect.onExit(effect, (exit) =>
      Effect.sync(() => {
        call.upstream = Exchange.now(context) - began
        if (Exit.isFailure(exit)) call.failure = Option.getOrUndefined(Cause.findErrorOption(exit.cause))?.reason
      }))
  })

const infer = ({ bodies, costs, limits, models, thread }: Options): Handler =>
  Effect.fnUntraced(function*(exchange, request) {
    const { name, version } = yield* named(exchange)
    const call = exchange.call = CallInfo.make()
    const place = exchange.place = { ...RouteInfo.make(), provider: Costs.local, model: name }
    exchange.model = name
    const asked = yield* requestOf({ bodies, thread }, request)
    yield* limits.admitRun(exchange, name)
    const { beginning } = ClientDeadline.read(request.headers)
    const outputs = asked.outputs?.map(({ name }) => name)
    const ran: Effect.Effect<Models.InferResponse, Failure> = Effect.mapError(
      run(exchange, call, models.infer(name, version, { id: asked.id, inputs: asked.inputs, outputs })),
      rejectionOf
    )
    const response = yield* beginning === Infinity ? ran : ClientDeadline.whole(beginning)(ran)
    exchange.usage = Costs.noTokens
    costs.note(exchange)
    place.model = `${response.model}:${response.version}`
    const isLarge = isJson(asked) && elementsOf(response) > TensorThread.mostElements
    return responseOf(yield* isLarge ? thread.write(asked, response) : hereOrRefused(tensorBody.write(asked, response)))
  })

const metadata = (models: Service): Handler => (exchange) =>
  Effect.flatMap(named(exchange), ({ name, version }) =>
    Effect.mapBoth(models.metadata(name, version), {
      onFailure: rejectionOf,
      onSuccess: ({ inputs, name, outputs, platform, versions }) => json({ name, versions, platform, inputs, outputs })
    }))

const unknown = (name: string, version: string | undefined) =>
  new Rejection({
    case: "ModelNotFound",
    detail: `There is no local model ${version === undefined ? name : `${name} ${version}`}.`
  })

/** A version that was unloaded for want of memory is loaded by its next call, but does not take one at once. */
const isReady = (models: Service): Handler => (exchange) =>
  Effect.flatMap(named(exchange), ({ name, version }) =>
    Effect.flatMap(models.list, (all) => {
      const versions = all.filter((one) => one.name === name && (version === undefined || one.version === version))
      if (versions.length === 0) return Effect.fail(unknown(name, version))
      const ready = versions.some(({ state, weight }) => state === "ready" && (version !== undefined || weight > 0))
      return Effect.succeed(json({ name, ready }, ready ? 200 : 400))
    }))

/** A model that is refused does not keep the others from their work. */
const serverReady = (models: Service): Handler => () =>
  Effect.map(models.list, (all) => {
    const waiting = all.some(({ name, state }) =>
      state === "loading" && !all.some((other) => other.name === name && other.state === "ready")
    )
    return json({ ready: !waiting }, waiting ? 400 : 200)
  })

const index = (models: Service): Handler => ({ client }) =>
  Effect.map(
    models.list,
    (all) =>
      json(
        all.filter(({ name }) => Client.mayUse(client, name)).map(({ name, reason = "", state, version }) => ({
          name,
          version,
          state: state === "failed" ? "UNAVAILABLE" : state.toUpperCase(),
          reason
        }))
      )
  )

const server = { name: "ballast", version, extensions: ["binary_tensor_data", "model_repository"] }

/**
 * The routes of local models.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options): ReadonlyArray<Route> => {
  const { models } = options
  const get = (path: Route["path"], GET: Handler, more?: Partial<Route>): Route => ({
    path,
    methods: { GET },
    dialect,
    ...more
  })
  return [
    get("/v2", () => Effect.succeed(json(server))),
    get("/v2/health/live", () => Effect.succeed(json({ live: true })), { open: true, quiet: true }),
    get("/v2/health/ready", serverReady(models), { open: true, quiet: true }),
    { path: "/v2/repository/index", methods: { POST: index(models) }, dialect },
    ...(["/v2/models/:name", "/v2/models/:name/versions/:version"] as const).flatMap((path): ReadonlyArray<Route> => [
      get(path, metadata(models), { name: spelled(path) }),
      get(`${path}/ready`, isReady(models), { name: spelled(`${path}/ready`), quiet: true }),
      { path: `${path}/infer`, name: spelled(`${path}/infer`), methods: { POST: infer(options) }, dialect }
    ])
  ]
}

/** Parameters as metrics and the docs show them. */
const spelled = (path: string): string => path.replaceAll(/:(\w+)/g, "{$1}")
