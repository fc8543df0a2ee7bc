import type { ChatRequest } from "@ballast/chat/ChatRequest"
import { Service } from "@ballast/workflow"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Result, Stream } from "effect"
import { FetchHttpClient, Headers, HttpClient, HttpClientResponse } from "effect/http"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"

const context: Service.CallContext = {
  runId: "run-1",
  workflow: "w",
  stepId: "s",
  attempt: 1,
  idempotencyKey: "run-1/s"
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

describe("Service", () => {
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

    it.effect("shows no header in spans", () =>
      Effect.gen(function*() {
        let hidden: ReadonlyArray<string | RegExp> = []
        const http = HttpClient.make((request, _url, _signal, fiber) => {
          hidden = fiber.getRef(Headers.CurrentRedactedNames)
          return Effect.succeed(HttpClientResponse.fromWeb(request, new Response("1")))
        })
        const settings: Service.Settings = { type: "http", url: "http://x", headers: { "X-Books-Key": "${env.KEY}" } }
        assert.strictEqual(yield* call(settings, 1, { http, env: { KEY: "secret" } }), 1)
        assert.include(hidden, "x-books-key")
      }))

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
        assert.deepStrictEqual(yield* call({ type: "http", url: "http://127.0.0.1:1" }, null, { http }), {
          detail: "it can not be reached (TransportError)",
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
