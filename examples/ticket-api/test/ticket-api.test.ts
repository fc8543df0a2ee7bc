import { DeepSeek } from "@ballast/deepseek"
import { Simulator } from "@ballast/simulator"
import { NodeHttpServer } from "@effect/platform-node"
import { assert, describe, layer } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import { HttpClient, HttpClientRequest, HttpRouter } from "effect/http"
import { HttpApiClient } from "effect/http-api"
import * as Api from "../src/Api.ts"
import { Ticket } from "../src/Ticket.ts"
import { Triage } from "../src/Triage.ts"

const Model = DeepSeek.layer({ apiKey: Redacted.make("sk-simulated"), retry: false }).pipe(
  Layer.provide(Simulator.layerHttpClient({ latency: 0, timeToFirstToken: 0, tokensPerSecond: Infinity }))
)

const Server = HttpRouter.serve(Api.layer, { disableLogger: true }).pipe(
  Layer.provide(Triage.layer.pipe(Layer.provideMerge(Model))),
  Layer.provideMerge(NodeHttpServer.layerTest)
)

describe("ticket-api", () => {
  layer(Server, { excludeTestServices: true })((it) => {
    it.effect("turns a message into a ticket", () =>
      Effect.gen(function*() {
        const client = yield* HttpApiClient.make(Api.Api)
        const ticket = yield* client.tickets.sort({ payload: { text: "I was charged twice!" } })
        assert.instanceOf(ticket, Ticket)
        assert.isNotEmpty(ticket.summary)
      }))

    it.effect("refuses a message without text", () =>
      Effect.gen(function*() {
        const request = yield* HttpClientRequest.bodyJson(HttpClientRequest.post("/tickets"), { text: "" })
        const response = yield* HttpClient.execute(request)
        assert.strictEqual(response.status, 400)
      }))
  })
})
