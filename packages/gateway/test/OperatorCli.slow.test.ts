import * as Crd from "@ballast/operator/Crd"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import * as Yaml from "yaml"
import { eventually } from "./harness.ts"
import { run, start } from "./program.ts"

/** An API server that only notes who asks. */
const apiServer = Effect.acquireRelease(
  Effect.callback<{ readonly url: string; readonly asked: Array<string>; readonly close: () => void }>((resume) => {
    const asked: Array<string> = []
    const server = createServer((request, response) => {
      asked.push(`${request.method} ${request.url}`)
      response.writeHead(503).end("{}")
    })
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as AddressInfo
      const close = () => void server.close()
      resume(Effect.succeed({ url: `http://127.0.0.1:${port}`, asked, close }))
    })
  }),
  ({ close }) => Effect.sync(close)
)

describe("ballast operator", () => {
  it.live("prints the resource", () =>
    Effect.gen(function*() {
      const { code, stdout } = yield* run(["operator", "--crd"])
      assert.strictEqual(code, 0)
      assert.deepStrictEqual(Yaml.parse(stdout), JSON.parse(JSON.stringify(Crd.crd)))
    }))

  for (
    const [args, env, words] of [
      [[], {}, /KUBERNETES_SERVICE_HOST is not set\. Outside of a pod, say where the API server is\./],
      [["--kubernetes-url", "http://127.0.0.1:1"], {}, /--kubernetes-url wants --namespace too/],
      [["--kubernetes-url", "127.0.0.1", "--namespace", "ships"], {}, /--kubernetes-url is not an http or https URL/],
      [
        ["--kubernetes-url", "http://127.0.0.1:1", "--namespace", "ships"],
        {},
        /Set BALLAST_ADMIN_KEY_FILE or BALLAST_ADMIN_KEY/
      ],
      [
        ["--kubernetes-url", "http://127.0.0.1:1", "--namespace", "ships"],
        { BALLAST_ADMIN_KEY_FILE: "/nowhere" },
        /BALLAST_ADMIN_KEY_FILE can't be read/
      ]
    ] as const
  ) {
    it.live(`says in one line what is missing: ${String(words).slice(1, 50)}`, () =>
      Effect.gen(function*() {
        const { code, stderr } = yield* run(["operator", ...args], env)
        assert.strictEqual(code, 1)
        assert.match(stderr, words)
        assert.match(stderr, /^ballast: [^\n]+\n$/)
      }))
  }

  it.live("asks for the lease, answers probes and metrics, and stops at SIGTERM", () =>
    Effect.gen(function*() {
      const api = yield* apiServer
      const probes = yield* Effect.scoped(Effect.map(apiServer, ({ url }) => Number(new URL(url).port)))
      const program = yield* start(
        ["operator", "--kubernetes-url", api.url, "--namespace", "ships", "--port", String(probes)],
        { BALLAST_ADMIN_KEY: "the-admin-key", BALLAST_METRICS_KEY: "the-metrics-key", BALLAST_LOG_LEVEL: "debug" }
      )
      yield* eventually(Effect.sync(() => api.asked.length > 0))
      assert.strictEqual(api.asked[0], "GET /apis/coordination.k8s.io/v1/namespaces/ships/leases/ballast-operator")
      const get = (path: string, key = "another") =>
        Effect.promise(() =>
          fetch(`http://127.0.0.1:${probes}${path}`, { headers: { authorization: `Bearer ${key}` } })
        )
      for (const path of ["/healthz", "/readyz"]) assert.strictEqual((yield* get(path)).status, 200)
      assert.strictEqual((yield* get("/metrics")).status, 401)
      const metrics = yield* get("/metrics", "the-metrics-key")
      assert.match(metrics.headers.get("content-type") ?? "", /^application\/openmetrics-text/)
      assert.strictEqual((yield* get("/nothing")).status, 404)
      yield* program.signal("SIGTERM")
      assert.strictEqual((yield* program.ended).code, 0)
      assert.notInclude(program.stdout + program.stderr, "the-admin-key")
    }))

  for (const [host, status] of [["127.0.0.1", 200], ["0.0.0.0", 401]] as const) {
    it.live(`answers ${status} for metrics without a key on ${host}`, () =>
      Effect.gen(function*() {
        const api = yield* apiServer
        const port = yield* Effect.scoped(Effect.map(apiServer, ({ url }) => new URL(url).port))
        yield* start(
          ["operator", "--kubernetes-url", api.url, "--namespace", "ships", "--host", host, "--port", port],
          { BALLAST_ADMIN_KEY: "the-admin-key" }
        )
        yield* eventually(Effect.sync(() => api.asked.length > 0))
        const metrics = yield* Effect.promise(() => fetch(`http://127.0.0.1:${port}/metrics`))
        assert.strictEqual(metrics.status, status)
      }))
  }
})
