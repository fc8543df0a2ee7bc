import type { ChatCompletion } from "@ballast/chat/ChatCompletion"
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import { InferenceError, type Models, Tensor } from "@ballast/inference"
import * as RouteInfo from "@ballast/router/RouteInfo"
import { Service, type Usage } from "@ballast/workflow"
import { assert, describe, it } from "@effect/vitest"
import { BigDecimal, Effect, Exit, Result, Stream, Tracer } from "effect"
import { FetchHttpClient, HttpClient, HttpClientError, HttpClientResponse } from "effect/http"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { inspect } from "node:util"
import { freePort } from "../../../test/support/freePort.ts"
import { collecting } from "../../../test/support/spans.ts"

const context: Service.CallContext = {
  runId: "run-1",
  workflow: "w",
  stepId: "s",
  attempt: 1,
  idempotencyKey: "run-1/s",
  report: () => Effect.void
}

const call = (settings: Service.Settings, input: unknown, parts: Service.Parts = {}) =>
  Effect.map(
    Effect.result(Service.make(settings, parts).call(input, context)),
    Result.match({ onSuccess: (output) => output, onFailure: ({ detail, retryable }) => ({ detail, retryable }) })
  )

/** A service on loopback, as long as the scope lives. */
const serve = (handle: (request: IncomingMessage, body: string, response: ServerResponse) => void) =>
  Effect.acquireRelease(
    Effect.callback<{ readonly url: string; readonly close: () => void }>((resume) => {
      const server = createServer((request, response) => {
        let body = ""
        request.setEncoding("utf8").on("data", (part: string) => body += part)
        request.on("end", () => handle(request, body, response))
      })
      server.listen(0, "127.0.0.1", () => {
        const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
        resume(Effect.succeed({ url, close: () => server.close() }))
      })
    }),
    ({ close }) => Effect.sync(close)
  )

const model = (content: string, finish_reason = "stop") => {
  const requests: Array<ChatRequest> = []
  return {
    requests,
    model: {
      complete: (request: ChatRequest) =>
        Effect.sync(() => {
          requests.push(request)
          return { choices: [{ message: { role: "assistant" as const, content }, finish_reason }] as const }
        }),
      stream: () => Stream.empty
    }
  }
}

/** Sums the rows of `x`; `busy` is overloaded. */
const localModels: Models.Service = {
  list: Effect.succeed([]),
  metadata: (name, version = "1") =>
    Effect.succeed({
      name,
      version,
      versions: ["1"],
      platform: "onnx_onnxv1",
      inputs: [{ name: "x", datatype: "FP32", shape: [-1, 2] }],
      outputs: [{ name: "sum", datatype: "FP32", shape: [-1] }]
    }),
  infer: (model, version = "1", { inputs: { x } }) => {
    const failure = (reason: InferenceError.Reason, detail: string) =>
      Effect.fail(new InferenceError.InferenceError({ reason, model, detail }))
    if (model === "busy") return failure("Overloaded", "its queue is full")
    if (!(x?.data instanceof Float32Array)) return failure("InvalidInput", "the input x is missing")
    const rows = Array.from({ length: x.shape[0] ?? 0 }, (_, row) => x.data.slice(row * 2, row * 2 + 2))
    const sums = Float32Array.from(rows, ([a, b]) => Number(a) + Number(b))
    return Effect.succeed({ model, version, outputs: { sum: Tensor.makeUnsafe("FP32", [sums.length], sums) } })
  },
  load: () => Effect.die("not called"),
  unload: () => Effect.void,
  setTraffic: () => Effect.void
}

describe("Service", () => {
  describe("onnx", () => {
    it.effect("gives a local model nested lists, and gives its outputs as such", () =>
      Effect.gen(function*() {
        const parts = { localModels }
        const sums = yield* call({ type: "onnx", model: "sums" }, { x: [[1, 2], [3, 4.5]], other: 1 }, parts)
        assert.deepStrictEqual(sums, { sum: [3, 7.5] })
        const chosen = { type: "onnx", model: "sums", inputs: { x: "${[input.frame]}" } } as const
        assert.deepStrictEqual(yield* call(chosen, { frame: [1, 1] }, parts), { sum: [2] })
      }))

    it.effect("fails with the model's words, and says what may pass", () =>
      Effect.gen(function*() {
        const parts = { localModels }
        assert.deepStrictEqual(yield* call({ type: "onnx", model: "busy" }, { x: [[1, 2]] }, parts), {
          detail: "busy: its queue is full",
          retryable: true
        })
        assert.deepStrictEqual(yield* call({ type: "onnx", model: "sums" }, {}, parts), {
          detail: "sums: the input x is missing",
          retryable: false
        })
        assert.deepStrictEqual(yield* call({ type: "onnx", model: "sums" }, { x: [[1, 2], [3]] }, parts), {
          detail: "x: it is nested, and its arrays of dimension 1 do not all have the 2 elements of [2, 2]",
          retryable: false
        })
        assert.deepStrictEqual(yield* call({ type: "onnx", model: "sums" }, [1], parts), {
          detail: "its input must be an object with the inputs of the model",
          retryable: false
        })
      }))
  })

  describe("http", () => {
    it.live("sends the input with its key and its headers, and gives the answer", () =>
      Effect.gen(function*() {
        const { url } = yield* serve(({ headers, method, url }, body, response) =>
          response.end(JSON.stringify({
            method,
            url,
            body: JSON.parse(body),
            type: headers["content-type"],
            key: headers["idempotency-key"],
            token: headers["authorization"]
          }))
        )
        const settings: Service.Settings = {
          type: "http",
          url: `${url}/\${input.id}`,
          headers: { Authorization: "Bearer ${env.TOKEN}" },
          body: { of: "${input}", run: "${run.id}" }
        }
        const http = yield* HttpClient.HttpClient
        assert.deepStrictEqual(yield* call(settings, { id: 7 }, { http, env: { TOKEN: "secret" } }), {
          method: "POST",
          url: "/7",
          body: { of: { id: 7 }, run: "run-1" },
          type: "application/json",
          key: "run-1/s",
          token: "Bearer secret"
        })
      }).pipe(Effect.scoped, Effect.provide(FetchHttpClient.layer)))

    it.effect("gives what its output makes of the answer", () =>
      Effect.gen(function*() {
        const http = HttpClient.make((request) =>
          Effect.succeed(HttpClientResponse.fromWeb(request, new Response("{\"total\":{\"value\":7}}")))
        )
        const settings: Service.Settings = {
          type: "http",
          url: "http://x",
          output: { amount: "${output.total.value}", of: "${input.id}", list: ["${run.id}"] }
        }
        assert.deepStrictEqual(yield* call(settings, { id: 1 }, { http }), { amount: 7, of: 1, list: ["run-1"] })
        assert.deepStrictEqual(Service.outputOf(settings), { amount: "dyn", of: "dyn", list: "dyn" })
        assert.deepStrictEqual(yield* call({ ...settings, output: "${output.none}" }, null, { http }), {
          detail: "The expression output.none can not be evaluated: No such key: none",
          retryable: false
        })
      }))

    it.live("shows neither its headers nor its URL in spans, and names its span to the service", () =>
      Effect.gen(function*() {
        const http = yield* HttpClient.HttpClient
        const { url } = yield* serve(({ headers }, _, response) => response.end(JSON.stringify(headers.traceparent)))
        const { spans, tracer } = collecting()
        const ask = (url: string) =>
          call(
            { type: "http", url: `${url}/\${env.KEY}?key=\${env.KEY}`, headers: { "X-Books-Key": "${env.KEY}" } },
            1,
            { http, env: { KEY: "hidden" } }
          ).pipe(Effect.withSpan("step s"), Effect.provideService(Tracer.Tracer, tracer))
        const parent = yield* ask(url)
        assert.include(String(parent), String(spans[1]?.spanId))
        yield* ask(`http://127.0.0.1:${yield* Effect.promise(freePort)}`)
        const shown = spans.map(({ attributes, name, status }) => [
          name,
          [...attributes],
          status._tag === "Ended" && Exit.isFailure(status.exit) ? status.exit : "none"
        ])
        assert.lengthOf(shown, 4)
        assert.notInclude(inspect(shown, { depth: 9 }), "hidden")
      }).pipe(Effect.scoped, Effect.provide(FetchHttpClient.layer)))

    it.live("sends its headers to no other place", () =>
      Effect.gen(function*() {
        const http = yield* HttpClient.HttpClient
        let calls = 0
        const other = yield* serve((_request, _body, response) => {
          calls++
          response.end("1")
        })
        const { url } = yield* serve((_request, _body, response) =>
          response.writeHead(307, { location: other.url }).end()
        )
        yield* call({ type: "http", url, headers: { "x-key": "a" } }, 1, { http })
        assert.strictEqual(calls, 0)
      }).pipe(Effect.scoped, Effect.provide(FetchHttpClient.layer)))

    it.effect("shows no value of env where it fails", () =>
      Effect.gen(function*() {
        const http = HttpClient.make((request) =>
          Effect.fail(
            new HttpClientError.HttpClientError({ reason: new HttpClientError.TransportError({ request }) })
          )
        )
        const parts = { http, env: { KEY: "Hid\"den-key", HOST: "Hidden.invalid", SHORT: "reached" } }
        const failure = (url: string, header = "") =>
          call({ type: "http", url, headers: { "x-key": header } }, null, parts)
        assert.deepStrictEqual(yield* failure("http://x", "${{'a': '1'}[env.KEY]}"), {
          detail: "The expression {'a': '1'}[env.KEY] can not be evaluated: No such key: ****",
          retryable: false
        })
        assert.deepStrictEqual(yield* failure("http://${env.HOST}"), {
          detail: "**** can not be reached (TransportError)",
          retryable: true
        })
        assert.deepStrictEqual(yield* call({ type: "report", template: "x", save: "${env.KEY}" }, null, parts), {
          detail: "\"****\" is no name of a file of letters, digits, _, - and .",
          retryable: false
        })
      }))

    it.live("gives null for an answer without a body", () =>
      Effect.gen(function*() {
        const http = yield* HttpClient.HttpClient
        const { url } = yield* serve(({ url }, _, response) => response.writeHead(Number(url?.slice(1))).end())
        assert.isNull(yield* call({ type: "http", url: `${url}/200` }, 1, { http }))
        assert.isNull(yield* call({ type: "http", url: `${url}/204` }, 1, { http }))
      }).pipe(Effect.scoped, Effect.provide(FetchHttpClient.layer)))

    it.live("says what is wrong with an answer", () =>
      Effect.gen(function*() {
        const http = yield* HttpClient.HttpClient
        const { url } = yield* serve(({ url }, _, response) => {
          if (url === "/moved") return response.writeHead(308, { location: "https://other.example/secret" }).end()
          if (url === "/page") return response.writeHead(200, { "content-type": "text/html; charset=utf-8" }).end("<p>")
          response.writeHead(200, { "content-length": "9" }).write("{", () => response.destroy())
        })
        const detail = (path: string) =>
          Effect.map(call({ type: "http", url: url + path }, 1, { http }), (failure) => Object(failure).detail)
        assert.strictEqual(
          yield* detail("/moved"),
          "it answered with status 308: a redirect to other.example, which is not followed; its url must be where that leads"
        )
        assert.strictEqual(yield* detail("/page"), "its answer is no JSON, but text/html")
        assert.match(yield* detail("/cut"), /^127\.0\.0\.1:\d+ broke off its answer \(/)
      }).pipe(
        Effect.scoped,
        Effect.provideService(FetchHttpClient.RequestInit, { redirect: "manual" }),
        Effect.provide(FetchHttpClient.layer)
      ))

    it.live("says of a failure whether it may pass", () =>
      Effect.gen(function*() {
        const http = yield* HttpClient.HttpClient
        const { url } = yield* serve(({ url }, _, response) => {
          response.statusCode = Number(url?.slice(1)) || 200
          response.end("no JSON")
        })
        const answer = (path: string) => call({ type: "http", method: "GET", url: url + path }, null, { http })
        assert.deepStrictEqual(yield* answer("/503"), { detail: "it answered with status 503", retryable: true })
        assert.deepStrictEqual(yield* answer("/429"), { detail: "it answered with status 429", retryable: true })
        assert.deepStrictEqual(yield* answer("/404"), { detail: "it answered with status 404", retryable: false })
        assert.deepStrictEqual(yield* answer("/"), { detail: "its answer is no JSON", retryable: false })
        const port = yield* Effect.promise(freePort)
        assert.deepStrictEqual(yield* call({ type: "http", url: `http://127.0.0.1:${port}/secret` }, null, { http }), {
          detail: `127.0.0.1:${port} can not be reached (ECONNREFUSED)`,
          retryable: true
        })
        assert.deepStrictEqual(yield* call({ type: "http", url: "${input}" }, "file:///x", { http }), {
          detail: "its url is no http or https URL",
          retryable: false
        })
      }).pipe(Effect.scoped, Effect.provide(FetchHttpClient.layer)))
  })

  describe("model", () => {
    const schema = { type: "object", properties: { amount: { type: "number" } }, required: ["amount"] }

    it.effect("asks with its prompt, and gives the text", () =>
      Effect.gen(function*() {
        const { model: chat, requests } = model("Hello")
        const settings: Service.Settings = {
          type: "model",
          model: "m",
          system: "Be short.",
          prompt: "Greet ${input.name}"
        }
        assert.strictEqual(yield* call(settings, { name: "Ada" }, { model: chat }), "Hello")
        assert.deepStrictEqual(requests, [{
          model: "m",
          messages: [{ role: "system", content: "Be short." }, { role: "user", content: "Greet Ada" }]
        }])
      }))

    it.effect("gives JSON that fits its schema, or fails so that it may be tried again", () =>
      Effect.gen(function*() {
        const settings: Service.Settings = { type: "model", model: "m", schema }
        const right = model("{\"amount\":3}")
        assert.deepStrictEqual(yield* call(settings, { of: 1 }, { model: right.model }), { amount: 3 })
        assert.deepStrictEqual(right.requests[0]?.response_format, { type: "json_object" })
        assert.include(String(right.requests[0]?.messages[0].content), JSON.stringify(schema))
        assert.strictEqual(right.requests[0]?.messages[1]?.content, "{\"of\":1}")
        assert.deepStrictEqual(yield* call(settings, 1, { model: model("{\"amount\":\"3\"}").model }), {
          detail: "the model's answer does not fit its JSON Schema",
          retryable: true
        })
        assert.deepStrictEqual(yield* call(settings, 1, { model: model("sure!").model }), {
          detail: "the model's answer is no JSON",
          retryable: true
        })
        assert.deepStrictEqual(yield* call(settings, 1, { model: model("{", "length").model }), {
          detail: "the model's answer was cut at its longest length",
          retryable: false
        })
        assert.deepStrictEqual(Service.outputOf(settings), { amount: "double" })
      }))

    it.effect("reports what an answer used and cost, at the place that gave it", () =>
      Effect.gen(function*() {
        const reported = (
          answer: Partial<ChatCompletion>,
          place: Partial<RouteInfo.RouteInfo>,
          cost?: Service.CostOf
        ) =>
          Effect.gen(function*() {
            const told: Array<unknown> = []
            const chat = {
              complete: () =>
                Effect.map(Effect.service(RouteInfo.Current), (info) => {
                  Object.assign(info ?? {}, place)
                  const message = { role: "assistant" as const, content: "no JSON" }
                  return { choices: [{ message }] as const, ...answer }
                }),
              stream: () => Stream.empty
            }
            const settings: Service.Settings = { type: "model", model: "m", schema }
            const report = (usage: Partial<Usage.Usage>) => Effect.sync(() => void told.push(usage))
            yield* Effect.result(Service.make(settings, { model: chat, cost }).call(1, { ...context, report }))
            return told
          })
        const usage = { prompt_tokens: 10, completion_tokens: 2 }
        const tokens = { promptTokens: 10, completionTokens: 2 }
        const cost: Service.CostOf = ({ prompt_tokens }, { model, provider }) =>
          model === "free" ? Result.fail("unknown") : Result.succeed({
            currency: `${provider}/${model}`,
            total: BigDecimal.make(BigInt(prompt_tokens), 7)
          })
        const place = { provider: "deepseek", model: "flash" }
        assert.deepStrictEqual(yield* reported({ usage }, place, cost), [
          { ...tokens, cost: { "deepseek/flash": "0.000001" } }
        ])
        assert.deepStrictEqual(yield* reported({ usage }, {}, cost), [{ ...tokens, cost: { "/m": "0.000001" } }])
        assert.deepStrictEqual(yield* reported({ usage }, { model: "free" }, cost), [{ ...tokens, unpriced: 1 }])
        assert.deepStrictEqual(yield* reported({}, place, cost), [{ unpriced: 1 }])
        assert.deepStrictEqual(yield* reported({ usage }, { ...place, cache: { state: "hit" } }, cost), [{}])
      }))
  })

  it.effect("rule gives what the first rule that fits says", () =>
    Effect.gen(function*() {
      const rules: Service.Settings = {
        type: "rule",
        rules: [
          { when: "${input.amount > 1000}", then: { level: "high", why: "${input.amount}" } },
          { when: "${input.amount > 100}", then: "middle" }
        ]
      }
      assert.deepStrictEqual(yield* call(rules, { amount: 2000 }), { level: "high", why: 2000 })
      assert.strictEqual(yield* call(rules, { amount: 200 }), "middle")
      assert.isNull(yield* call(rules, { amount: 2 }))
    }))
})
