import { OpenInference } from "@ballast/inference"
import { assert, describe, layer } from "@effect/vitest"
import { Deferred, Effect, Fiber } from "effect"
import type { Worker } from "node:worker_threads"
import { eventually, layer as gateway, post, raw, Running, send } from "./harness.ts"
import * as StandIn from "./support/standIn.ts"

const { acts, models } = StandIn.make()
const { double } = StandIn

const request = (data: ReadonlyArray<number>, more: object = {}) => ({
  id: "7",
  inputs: [{ name: "x", shape: [data.length], datatype: "FP32", data }],
  ...more
})

const admin = { authorization: "Bearer admin-key-of-ops-1" }

const settings = {
  admin: { keys: { ops: ["admin-key-of-ops-1"] } },
  clients: {
    alice: { keys: ["key-of-alice"] },
    bob: { keys: ["key-of-bob"], models: ["deepseek-*"] }
  }
}

const alice = { authorization: "Bearer key-of-alice" }

describe("local models by the Open Inference Protocol", () => {
  layer(gateway({ settings, localModels: models }), { excludeTestServices: true })((it) => {
    const url = Effect.map(Running, ({ url }) => url)

    it.effect("answers JSON with JSON, and says who answered in its log", () =>
      Effect.gen(function*() {
        const { log, url } = yield* Running
        const { headers, json, status } = yield* post(`${url}/v2/models/double/infer`, request([1.5, 2]), alice)
        assert.strictEqual(status, 200)
        assert.deepStrictEqual(json, {
          model_name: "double",
          model_version: "2",
          id: "7",
          outputs: [{ name: "y", datatype: "FP32", shape: [2], data: [3, 4] }]
        })
        assert.strictEqual(headers.get("x-ballast-provider"), "local")
        const line = log.findLast(({ message }) => message === "request")
        assert.deepInclude(line, { model: "double", provider: "local", client: "alice", status: 200 })
      }))

    it.effect("takes and gives binary tensors", () =>
      Effect.gen(function*() {
        const floats = new Float32Array([1.5, -0.25, NaN])
        const head = Buffer.from(JSON.stringify({
          inputs: [{ name: "x", shape: [3], datatype: "FP32", parameters: { binary_data_size: 12 } }],
          outputs: [{ name: "y", parameters: { binary_data: true } }]
        }))
        const response = yield* Effect.flatMap(url, (url) =>
          Effect.promise(async () => {
            const response = await fetch(`${url}/v2/models/double/versions/2/infer`, {
              method: "POST",
              headers: {
                ...alice,
                "content-type": "application/octet-stream",
                [OpenInference.lengthHeader]: String(head.length)
              },
              body: Buffer.concat([head, Buffer.from(floats.buffer)])
            })
            return { response, bytes: Buffer.from(await response.arrayBuffer()) }
          }))
        const length = Number(response.response.headers.get(OpenInference.lengthHeader))
        const json = JSON.parse(response.bytes.subarray(0, length).toString())
        assert.deepStrictEqual(json.outputs, [
          { name: "y", datatype: "FP32", shape: [3], parameters: { binary_data_size: 12 } }
        ])
        const data = new Float32Array(Uint8Array.from(response.bytes.subarray(length)).buffer)
        assert.deepStrictEqual(data, new Float32Array([3, -0.5, NaN]))
      }))

    it.effect("reads and writes large tensors in a thread, with the same answers", () =>
      Effect.gen(function*() {
        const base = yield* url
        let threads = 0
        let messages = 0
        const count = (thread: Worker) => {
          threads++
          thread.on("message", () => messages++)
        }
        process.on("worker", count)
        yield* Effect.addFinalizer(() => Effect.sync(() => process.off("worker", count)))
        const infer = (body: unknown) => post(`${base}/v2/models/double/infer`, body, alice)
        const numbers = Array.from({ length: 40_000 }, (_, at) => at)
        const few = numbers.slice(0, 3)
        yield* infer(request(few))
        assert.strictEqual(threads, 0)
        const large = yield* infer(request(numbers))
        assert.deepStrictEqual([threads, messages], [1, 2])
        assert.strictEqual(large.headers.get("content-type"), "application/json")
        assert.deepStrictEqual(large.json.id, "7")
        assert.deepStrictEqual(large.json.outputs, [{
          name: "y",
          datatype: "FP32",
          shape: [numbers.length],
          data: numbers.map((number) => number * 2)
        }])
        const said = (body: object) => Effect.map(infer(body), ({ json, status }) => [status, json.error])
        for (
          const wrong of [
            (data: ReadonlyArray<number>) => request(data, { outputs: [{ name: "q" }] }),
            (data: ReadonlyArray<number>) => request([2e38, ...data]),
            (data: ReadonlyArray<number>) => request([1e39, ...data])
          ]
        ) assert.deepStrictEqual(yield* said(wrong(numbers)), yield* said(wrong(few)))
        const { error } = (yield* infer(JSON.stringify(request(numbers)).slice(0, -1))).json
        assert.match(error, /^The body is not valid JSON: unexpected .* at position 2\d{5} \(line 1, /)
        assert.strictEqual(threads, 1)
      }))

    it.effect("tells of the server and its models", () =>
      Effect.gen(function*() {
        const base = yield* url
        const get = (path: string, headers: Record<string, string> = alice) => send(`${base}${path}`, { headers })
        assert.deepInclude((yield* get("/v2")).json, {
          name: "ballast",
          extensions: ["binary_tensor_data", "model_repository"]
        })
        assert.strictEqual((yield* get("/v2/")).status, 200)
        assert.strictEqual((yield* get("/v2/health/live", {})).status, 200)
        assert.deepStrictEqual((yield* get("/v2/health/ready", {})).json, { ready: true })
        assert.deepStrictEqual((yield* get("/v2/models/double")).json, {
          name: "double",
          versions: ["2", "1"],
          platform: "onnx_onnxv1",
          inputs: [{ name: "x", datatype: "FP32", shape: [-1] }],
          outputs: [{ name: "y", datatype: "FP32", shape: [-1] }]
        })
        assert.deepStrictEqual((yield* get("/v2/models/double/ready")).json, { name: "double", ready: true })
        const refused = yield* get("/v2/models/double/versions/3/ready")
        assert.deepStrictEqual([refused.status, refused.json.ready], [400, false])
        assert.deepStrictEqual((yield* post(`${base}/v2/repository/index`, {}, alice)).json, [
          { name: "double", version: "3", state: "UNAVAILABLE", reason: "the golden input disagrees" },
          { name: "double", version: "2", state: "READY", reason: "" },
          { name: "double", version: "1", state: "READY", reason: "" }
        ])
      }))

    it.effect("refuses with a status that says whose turn it is, and in the protocol's form", () =>
      Effect.gen(function*() {
        const base = yield* url
        const infer = (body: unknown, path = "double", headers: Record<string, string> = alice) =>
          Effect.map(
            post(`${base}/v2/models/${path}/infer`, body, headers),
            ({ json, status }) => [status, typeof json.error === "string" ? json.error : JSON.stringify(json)] as const
          )
        const cases: ReadonlyArray<readonly [Effect.Effect<readonly [number, string]>, number, string]> = [
          [infer(request([-1])), 503, "its queue is full"],
          [infer(request([-2])), 500, "the run failed"],
          [infer(request([-3])), 504, "no answer within 1 s"],
          [infer(request([1]), "double/versions/3"), 503, "the version was refused"],
          [infer("{"), 400, "The body is not valid JSON"],
          [infer({ inputs: [] }), 400, "inputs: it must be an array of 1 to 256 tensors"],
          [infer({ inputs: [{ name: "z", shape: [1], datatype: "FP32", data: [1] }] }), 400, "x: the input is missing"],
          [infer(request([1], { outputs: [{ name: "q" }] })), 400, "the model has no output \"q\""],
          [infer(request([2e38])), 400, "which JSON can not say; ask for binary_data"],
          [
            infer(request([1]), "double", { authorization: "Bearer key-of-bob" }),
            403,
            "may not use the model \"double\""
          ],
          [infer(request([1]), "double", {}), 401, "key"],
          [
            infer(request([1]), "double", { ...alice, [OpenInference.lengthHeader]: "x" }),
            400,
            "must be a whole number"
          ],
          [infer("x", "double", { ...alice, "content-type": "text/plain" }), 415, "Send JSON with the header"]
        ]
        for (const [call, status, text] of cases) {
          const [found, error] = yield* call
          assert.strictEqual(found, status, error)
          assert.include(error, text)
        }
        const unknown = yield* send(`${base}/v2/models/other`, { headers: alice })
        assert.strictEqual(unknown.status, 404)
        assert.match(unknown.json.error, /there is no such model/)
      }))

    it.effect("refuses hostile tensors before they cost something", () =>
      Effect.gen(function*() {
        const base = yield* url
        const one = (tensor: object) => ({ inputs: [{ name: "x", datatype: "FP32", ...tensor }] })
        const cases: ReadonlyArray<readonly [object, string]> = [
          [one({ shape: [2 ** 28], data: [1] }), "the shape [268435456] has 268435456 elements, but the data has 1"],
          [one({ shape: [2 ** 31, 2 ** 31, 2 ** 31], data: [1] }), "has more elements than can be counted"],
          [one({ shape: [-1], data: [1] }), "a dimension is a whole number from 0"],
          [one({ shape: [2 ** 28], parameters: { binary_data_size: 2 ** 30 } }), "0 bytes are left"],
          [one({ shape: [1], data: ["NaN"] }), "expected a number that FP32 can hold"]
        ]
        for (const [body, error] of cases) {
          const { json, status } = yield* post(`${base}/v2/models/double/infer`, body, alice)
          assert.strictEqual(status, 400, JSON.stringify(body))
          assert.include(json.error, error)
        }
        // It has its answer before it sends a byte of the body.
        const head = [
          "POST /v2/models/double/infer HTTP/1.1",
          "host: localhost",
          `authorization: ${alice.authorization}`,
          "content-type: application/octet-stream",
          `content-length: ${2 ** 30}`,
          "connection: close",
          "\r\n"
        ]
        const answer = yield* raw(base, head.join("\r\n"))
        assert.match(answer, /^HTTP\/1\.1 413 /)
        assert.match(answer, /\{"error":"[^"]*larger than/)
      }))

    it.effect("is steered by the admin API", () =>
      Effect.gen(function*() {
        const base = `${yield* url}/admin/v1/inference/models`
        const put = (path: string, body: object) =>
          send(`${base}${path}`, {
            method: "PUT",
            headers: { ...admin, "content-type": "application/json" },
            body: JSON.stringify(body)
          })
        const { json } = yield* send(`${base}/double`, { headers: admin })
        assert.deepInclude(json.versions[1], { version: "2", weight: 0.25, latencySeconds: { p50: 0.002, p95: 0.008 } })
        assert.strictEqual((yield* send(`${base}/other`, { headers: admin })).status, 404)
        assert.strictEqual((yield* send(`${base}/double`, { headers: alice })).status, 401)
        const demands = {
          sha256: { "model.onnx": "a".repeat(64) },
          golden: [{ inputs: { x: [1] }, outputs: { y: [2] } }]
        }
        assert.strictEqual((yield* put("/double/versions/4", { source: "/models/double-4", ...demands })).status, 200)
        assert.strictEqual((yield* put("/double/versions/4", demands)).status, 400)
        const refused = yield* put("/double/versions/9", {})
        assert.deepStrictEqual([refused.status, refused.json.error.message], [409, "double: its SHA-256 is another"])
        assert.strictEqual((yield* put("/double/versions/..%2f", {})).status, 400)
        assert.strictEqual((yield* put("/double/traffic", { weights: { "2": 9, "4": 1 } })).status, 200)
        assert.strictEqual((yield* put("/double/traffic", { weights: { "2": -1 } })).status, 400)
        assert.strictEqual((yield* send(`${base}/double/versions/4`, { method: "DELETE", headers: admin })).status, 200)
        assert.deepStrictEqual(acts, [
          {
            load: "4",
            source: {
              folder: "/models/double-4",
              sha256: { "model.onnx": "a".repeat(64) },
              golden: [{ inputs: { x: [1] }, outputs: { y: [2] }, tolerance: 1e-4 }]
            }
          },
          { load: "9", source: undefined },
          { weights: { "2": 9, "4": 1 } },
          { unload: "4" }
        ])
        // What takes long goes on after the answer.
        assert.strictEqual((yield* put("/double/versions/8", {})).status, 200)
        assert.strictEqual((yield* send(`${base}/double/versions/8`, { method: "DELETE", headers: admin })).status, 200)
      }))
  })

  const holding = Effect.runSync(Deferred.make<void>())
  const started = Effect.runSync(Deferred.make<void>())
  const patient = StandIn.make({
    infer: (_, version, request) =>
      version === "slow"
        ? Effect.andThen(Deferred.succeed(started, undefined), Effect.andThen(Deferred.await(holding), double(request)))
        : double(request)
  })
  const limited = (name: string, limits: object) => ({ keys: [`key-of-${name}`], limits })

  layer(
    gateway({
      database: ":memory:",
      localModels: patient.models,
      settings: {
        clients: {
          free: { keys: ["key-of-free"] },
          slow: limited("slow", { requestsPerMinute: 2, tokensPerMinute: 1 }),
          narrow: limited("narrow", { concurrency: 1 }),
          poor: limited("poor", { budget: { day: 0.002 } }),
          late: { keys: ["key-of-late"], expires: "2026-01-01" }
        },
        providers: {
          simulator: { type: "simulator", accounts: { main: { keys: ["sk-test"] } } },
          own: { type: "local" }
        },
        prices: {
          list: [{ provider: "local", model: "double", currency: "CNY", hit: 0, miss: 0, output: 0, call: 0.001 }]
        }
      }
    }),
    { excludeTestServices: true }
  )("passes the limits of its client", (it) => {
    const ask = (name: string, path = "double", data: ReadonlyArray<number> = [1]) =>
      Effect.flatMap(
        Running,
        ({ url }) => post(`${url}/v2/models/${path}/infer`, request(data), { authorization: `Bearer key-of-${name}` })
      )

    /** Waits for the line of a call, which is written when all else of it is done. */
    const line = Effect.fnUntraced(function*(client: string, status: number) {
      const { log } = yield* Running
      const find = () =>
        log.find((line) => line["message"] === "request" && line["client"] === client && line["status"] === status)
      yield* eventually(Effect.sync(() => find() !== undefined))
      return find()
    })

    it.effect("requests a minute, in the protocol's form", () =>
      Effect.gen(function*() {
        const answers = yield* Effect.forEach([1, 2, 3], () => ask("slow"))
        assert.deepStrictEqual(answers.map(({ status }) => status), [200, 200, 429])
        const { headers, json } = answers[2]!
        assert.match(json.error, /^The client slow has reached its limit of 2 requests per minute\. Try again in \d+s/)
        assert.isAbove(Number(headers.get("retry-after")), 0)
        assert.strictEqual((yield* ask("late")).status, 401)
      }))

    it.effect("calls at once, until each has ended", () =>
      Effect.gen(function*() {
        const running = yield* Effect.forkChild(ask("narrow", "double/versions/slow"))
        yield* Deferred.await(started)
        assert.match((yield* ask("narrow")).json.error, /its limit of 1 requests at once/)
        yield* Deferred.succeed(holding, undefined)
        assert.strictEqual((yield* Fiber.join(running)).status, 200)
        yield* line("narrow", 200)
        assert.strictEqual((yield* ask("narrow")).status, 200)
      }))

    it.effect("money, which a call that failed does not cost", () =>
      Effect.gen(function*() {
        assert.strictEqual((yield* ask("poor", "double", [-2])).status, 500)
        yield* line("poor", 500)
        const answers = yield* Effect.forEach([1, 2, 3], () => ask("poor"))
        assert.deepStrictEqual(
          answers.map(({ headers, status }) => [status, headers.get("x-ballast-cost")]),
          [[200, "0.001 CNY"], [200, "0.001 CNY"], [429, null]]
        )
        assert.match(answers[2]?.json.error, /^The budget of the client poor for this day does not suffice/)
        assert.isAbove(Number(answers[2]?.headers.get("retry-after")), 0)
        // Without a price, it costs nothing.
        const { headers, status } = yield* ask("poor", "other")
        assert.deepStrictEqual([status, headers.get("x-ballast-cost")], [200, "0 CNY"])
      }))

    it.effect("and is counted and kept like any other call", () =>
      Effect.gen(function*() {
        const { records, url } = yield* Running
        assert.strictEqual((yield* ask("free")).status, 200)
        assert.strictEqual((yield* ask("free", "double", [-1])).status, 503)
        yield* line("free", 200)
        assert.deepInclude(yield* line("free", 503), { provider: "local", attempts: 1, last_failure: "Overloaded" })
        yield* records!.ledger.flush
        const rows = yield* records!.database.use((sql) =>
          sql`SELECT model, provider, provider_model, route, status, error, attempts, input_tokens, cost_call
            FROM ballast_calls WHERE client = 'free' ORDER BY status`
        )
        const common = { model: "double", provider: "local", attempts: 1, route: "/v2/models/{name}/infer" }
        assert.deepStrictEqual(rows.map((row) => ({ ...row })), [
          { ...common, provider_model: "double:2", status: 200, error: "", input_tokens: 0, cost_call: 1_000_000_000 },
          {
            ...common,
            provider_model: "double",
            status: 503,
            error: "local_model_busy",
            input_tokens: null,
            cost_call: null
          }
        ])
        const { text } = yield* send(`${url}/metrics`, { headers: { authorization: "Bearer key-of-free" } })
        assert.match(text, /^ballast_overhead_seconds_count\{route="\/v2\/models\/\{name\}\/infer"\} \d+$/m)
        assert.match(
          text,
          /^ballast_routed_requests_total\{(?=[^}]*provider="local")(?=[^}]*status="503")[^}]*\} \d+$/m
        )
        assert.match(text, /^ballast_cost_total\{(?=[^}]*client="free")(?=[^}]*provider="local")[^}]*\} 0\.001$/m)
      }))
  })

  layer(gateway(), { excludeTestServices: true })((it) => {
    it.effect("is not there without local models", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        assert.strictEqual((yield* send(`${url}/v2/models/double`)).status, 404)
      }))
  })
})
