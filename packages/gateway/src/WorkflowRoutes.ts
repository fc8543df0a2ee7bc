/**
 * The routes of workflows and their runs.
 *
 * | route | what for |
 * |---|---|
 * | `GET /v1/workflows`, `/v1/workflows/{name}` | the workflows: their steps and their graph |
 * | `POST /v1/workflows/{name}/runs` | starts a run with the body as its input |
 * | `GET /v1/workflows/{name}/runs` | runs, newest first: `status`, `since`, `limit`, `cursor` |
 * | `GET /v1/workflows/{name}/runs/{id}` | a run with its steps |
 * | `GET …/runs/{id}/steps/{step}` | a step with its whole output |
 * | `GET …/runs/{id}/events` | its events as server-sent events, then live; `last-event-id` goes on after one |
 * | `GET …/runs/{id}/graph` | its graph with the state of each step, as SVG |
 * | `POST …/runs/{id}/approvals/{step}` | decides: `{"approved": true, "comment": "…"}` |
 * | `POST …/runs/{id}/cancel` | cancels it: steps in flight are interrupted, `finally` runs |
 * | `POST …/runs/{id}/retry` | a new run that takes over what the steps that succeeded gave |
 *
 * In place of a name, `-` stands for any workflow. A client's key or an admin's opens them.
 *
 * A start answers when the run has ended, with 200. It answers with 202 and the run's `location` when the run waits for a person, with
 * `prefer: respond-async` at once, and after `prefer: wait=10` (seconds) or the setting `workflows.wait` at the latest; with `accept: text/event-stream` it answers with the run's events. A run
 * goes on whether its client waits or not.
 *
 * @since 0.1.0
 */
import * as Graph from "@ballast/workflow/Graph"
import * as Runs from "@ballast/workflow/Runs"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Schema from "effect/Schema"
import type { Bodies } from "./Body.ts"
import type * as Exchange from "./Exchange.ts"
import { placeOf, runOf, stepOf, summaryOf, workflowOf } from "./internal/workflows/answers.ts"
import { decisionOf } from "./internal/workflows/decisionRequest.ts"
import * as EventReaders from "./internal/workflows/eventReaders.ts"
import { cursorOf, filterOf } from "./internal/workflows/listRequest.ts"
import { pictureOf } from "./internal/workflows/picture.ts"
import { keyOf, waitOf, wantsEvents } from "./internal/workflows/startRequest.ts"
import { wrong } from "./internal/workflows/wrong.ts"
import { Rejection } from "./Rejection.ts"
import type * as Routes from "./Routes.ts"
import type * as Workflows from "./Workflows.ts"

/**
 * @category options
 * @since 0.1.0
 */
export interface Options extends Omit<EventReaders.Options, "runs"> {
  readonly workflows: Workflows.Workflows
  readonly bodies: Bodies
  readonly limits: () => { readonly maxInput: number; readonly wait: Duration.Duration }
}

const json = (body: unknown, status = 200, headers: Readonly<Record<string, string>> = {}) =>
  HttpServerResponse.jsonUnsafe(body, { status, headers })

const isJson = Schema.is(Schema.Json)

/**
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options): ReadonlyArray<Routes.Route> => {
  const { bodies, limits, out, stopping, streams, workflows } = options
  const stop = EventReaders.stop(stopping)
  const follow = EventReaders.make({ runs: workflows.runs, streams, out, stopping })

  const answer = (client: Workflows.Caller, id: string) =>
    Effect.map(workflows.run(client, "-", id), (run) =>
      Runs.hasEnded(run.status)
        ? json(runOf(run))
        : json(runOf(run), 202, { location: placeOf(run), "retry-after": "1" }))

  const afterStart = (exchange: Exchange.Exchange, request: HttpServerRequest, id: string) =>
    Effect.gen(function*() {
      if (wantsEvents(request)) return yield* follow(exchange, request, id, 0)
      const wait = waitOf(request, Duration.toMillis(limits().wait))
      const end = Effect.ignore(Effect.raceFirst(workflows.runs.settled(id), stop))
      if (wait > 0) yield* Effect.timeoutOption(end, wait)
      return yield* answer(exchange.client, id)
    })

  const inputOf = Effect.fnUntraced(function*(request: HttpServerRequest) {
    const { begun, json: input, text } = yield* bodies.read(request)
    const { maxInput } = limits()
    if (Buffer.byteLength(text) > maxInput) {
      return yield* new Rejection({
        case: "BodyTooLarge",
        detail: `The input is larger than ${maxInput} bytes, the gateway's workflows.maxInput.`
      })
    }
    begun()
    return isJson(input) ? input : null
  })

  const startOptions = (request: HttpServerRequest) =>
    Effect.map(Effect.fromResult(keyOf(request)), (idempotencyKey) => ({ idempotencyKey }))

  const start: Routes.Handler = (exchange, request) =>
    Effect.gen(function*() {
      const { name = "" } = exchange.params
      // Before the body: a name that is wrong is the clearer answer.
      yield* workflows.definition(name)
      const given = yield* startOptions(request)
      const id = yield* workflows.start(exchange.client, name, yield* inputOf(request), given)
      return yield* afterStart(exchange, request, id)
    })

  const list: Routes.Handler = (exchange, request) =>
    Effect.gen(function*() {
      const { name = "" } = exchange.params
      const filter = yield* Effect.fromResult(filterOf(request, name, yield* Clock.currentTimeMillis))
      const { next, runs } = yield* workflows.list(exchange.client, filter)
      return json({ object: "list", data: runs.map(summaryOf), next: next === undefined ? null : cursorOf(next) })
    })

  /** Of a run that the client may see. */
  const ofRun = (
    handle: (
      run: Runs.Run,
      exchange: Exchange.Exchange,
      request: HttpServerRequest
    ) => ReturnType<Routes.Handler>
  ): Routes.Handler =>
  (exchange, request) => {
    const { id = "", name = "" } = exchange.params
    return Effect.flatMap(workflows.run(exchange.client, name, id), (run) => handle(run, exchange, request))
  }

  const events = ofRun(({ id }, exchange, request) => {
    const last = request.headers["last-event-id"] ?? "0"
    return /^\d{1,15}$/.test(last)
      ? follow(exchange, request, id, Number(last))
      : Effect.fail(wrong("last-event-id", "The header `last-event-id` must be the id of an event: a whole number."))
  })

  const step = ofRun(({ id }, { params: { step = "" } }) =>
    Effect.flatMap(Effect.orDie(workflows.runs.step(id, step)), (found) =>
      found === undefined
        ? Effect.fail(
          new Rejection({ case: "RunNotFound", detail: `The run has no step ${JSON.stringify(step)} that has begun.` })
        )
        : Effect.succeed(json(stepOf(found))))
  )

  const decide = ofRun((run, exchange, request) =>
    Effect.gen(function*() {
      const body = yield* bodies.read(request)
      const decision = yield* Effect.fromResult(decisionOf(body.json))
      yield* workflows.decide(exchange.client, run, exchange.params["step"] ?? "", decision)
      return json(runOf(yield* workflows.run(exchange.client, "-", run.id)))
    })
  )

  const graph = ofRun((run) =>
    Effect.map(pictureOf(run), (picture) =>
      picture === undefined
        ? HttpServerResponse.empty({ status: 204 })
        : HttpServerResponse.text(picture, { contentType: "image/svg+xml" }))
  )

  const cancel = ofRun((run, exchange) =>
    Effect.andThen(
      workflows.cancel(run),
      Effect.map(
        workflows.run(exchange.client, "-", run.id),
        (run) => json(runOf(run), 202, { location: placeOf(run) })
      )
    )
  )

  const retry = ofRun((run, exchange, request) =>
    Effect.flatMap(startOptions(request), (given) =>
      Effect.flatMap(
        workflows.retry(exchange.client, run, given),
        (id) => afterStart(exchange, request, id)
      ))
  )

  const route = (path: Routes.Route["path"], methods: Routes.Route["methods"]): Routes.Route => ({
    path,
    name: path.replace(/:(\w+)/g, "{$1}"),
    methods,
    admins: true
  })
  const one = "/v1/workflows/:name/runs/:id"
  return [
    route("/v1/workflows", {
      GET: () => Effect.sync(() => json({ object: "list", data: workflows.definitions().map(workflowOf) }))
    }),
    route("/v1/workflows/:name", {
      GET: ({ params: { name = "" } }) =>
        Effect.map(
          workflows.definition(name),
          (definition) => json({ ...workflowOf(definition), graph: Graph.mermaid(definition) })
        )
    }),
    route("/v1/workflows/:name/runs", { POST: start, GET: list }),
    route(one, { GET: ofRun((run) => Effect.succeed(json(runOf(run)))) }),
    route(`${one}/events`, { GET: events }),
    route(`${one}/graph`, { GET: graph }),
    route(`${one}/steps/:step`, { GET: step }),
    route(`${one}/approvals/:step`, { POST: decide }),
    route(`${one}/cancel`, { POST: cancel }),
    route(`${one}/retry`, { POST: retry })
  ]
}
