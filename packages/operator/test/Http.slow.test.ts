/** The operator over real HTTP, in real time: as it runs in a cluster, but for the cluster. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Redacted } from "effect"
import { FetchHttpClient } from "effect/http"
import * as Http from "node:http"
import type { AddressInfo } from "node:net"
import { Operator } from "../src/index.ts"
import { ApiServer } from "./support/ApiServer.ts"
import { leasesPath, modelsPath, podsPath } from "./support/cluster.ts"
import { FakeGateway } from "./support/FakeGateway.ts"

const listen = (gateway: FakeGateway) =>
  Effect.acquireRelease(
    Effect.promise(() =>
      new Promise<Http.Server>((resolve) => {
        const server = Http.createServer(async (request, response) => {
          let text = ""
          for await (const part of request) text += part
          const url = new URL(request.url ?? "/", "http://gateway")
          const body = text === "" ? undefined : JSON.parse(text)
          const answer = gateway.handle(request.method ?? "", url, request.headers.authorization, body)
          response.writeHead(answer.status, { "content-type": "application/json" }).end(JSON.stringify(answer.body))
        }).listen(0, "127.0.0.1", () => resolve(server))
      })
    ),
    (server) => Effect.sync(() => server.closeAllConnections())
  ).pipe(Effect.map((server) => (server.address() as AddressInfo).port))

const until = (condition: () => boolean) =>
  Effect.repeat(Effect.promise(() => new Promise((resolve) => setImmediate(resolve))), { until: condition })

describe("Operator", () => {
  it.live("brings a pod to what is wished, and gives the lease back", () =>
    Effect.gen(function*() {
      const server = new ApiServer()
      const { close, url } = yield* Effect.promise(() => server.listen())
      yield* Effect.addFinalizer(() => Effect.promise(close))
      const gateway = new FakeGateway(Date.now)
      gateway.loadTime = 0
      const port = yield* listen(gateway)
      server.handle("POST", new URL(podsPath, url), {
        metadata: { name: "gateway-1", labels: { app: "gateway" } },
        spec: { containers: [{ name: "gateway", ports: [{ name: "http", containerPort: port }] }] },
        status: { podIP: "127.0.0.1", conditions: [{ type: "Ready", status: "True" }] }
      })
      const spec = { source: "/models/flow/1", version: "1" }
      server.handle("POST", new URL(modelsPath, url), { metadata: { name: "flow" }, spec })
      let isRefused = true
      const operator = yield* Operator.run({
        url,
        namespace: "ships",
        selector: "app=gateway",
        identity: "me",
        token: Effect.succeed(Redacted.make("token")),
        // The first key is wrong; a Secret that changes is followed.
        adminKey: Effect.sync(() => Redacted.make(isRefused ? "old" : "admin-key"))
      }).pipe(Effect.provide(FetchHttpClient.layer), Effect.forkScoped)
      const told = () => JSON.stringify(server.get(modelsPath, "flow")?.status ?? {})
      yield* until(() => told().includes("the admin key is refused (401)"))
      isRefused = false
      yield* until(() => gateway.serves("flow")["1"] === 100)
      yield* until(() => told().includes("\"reason\":\"Serving\""))
      assert.notInclude(told(), "admin-key")
      yield* Fiber.interrupt(operator)
      assert.include(JSON.stringify(server.get(leasesPath, "ballast-operator")?.spec), "\"holderIdentity\":\"\"")
      assert.isAtLeast(server.list("/api/v1/namespaces/ships/events").length, 2)
    }))
})
