import { MetricNames } from "@ballast/telemetry"
import { assert, describe, layer } from "@effect/vitest"
import { Effect } from "effect"
import { connect } from "node:net"
import { type Answer, eventually, hello, layer as gateway, post, raw, Running, send } from "./harness.ts"

const chat = "/v1/chat/completions"

describe("Gateway", () => {
  layer(gateway(), { excludeTestServices: true })("answers", (it) => {
    it.effect.each(["/v1/chat/completions", "/chat/completions"])("chat at %s", (path) =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const answer = yield* post(url + path, hello)
        assert.strictEqual(answer.status, 200)
        assert.strictEqual(answer.headers.get("x-ballast-upstream"), "simulator")
        assert.match(answer.headers.get("content-type")!, /^application\/json/)
        assert.strictEqual(answer.json.object, "chat.completion")
        assert.isNotEmpty(answer.json.choices[0].message.content)
        assert.isAbove(answer.json.usage.total_tokens, 0)
        assert.property(answer.json, "system_fingerprint")
      }))

    it.effect("a stream of events that ends with [DONE]", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const answer = yield* post(url + chat, { ...hello, stream: true })
        assert.strictEqual(answer.status, 200)
        assert.match(answer.headers.get("content-type")!, /^text\/event-stream/)
        assert.strictEqual(answer.headers.get("cache-control"), "no-cache")
        const events = answer.text.trimEnd().split("\n\n")
        assert.strictEqual(events.at(-1), "data: [DONE]")
        const chunks = events.slice(0, -1).map((event) => JSON.parse(event.replace(/^data: /, "")))
        assert.strictEqual(chunks[0].object, "chat.completion.chunk")
        assert.strictEqual(chunks.at(-1).choices[0].finish_reason, "stop")
        assert.isAbove(chunks.at(-1).usage.completion_tokens, 0)
      }))

    it.effect.each(["/v1/models", "/models"])("the models at %s", (path) =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const answer = yield* send(url + path)
        assert.strictEqual(answer.status, 200)
        assert.include(answer.json.data.map((model: { id: string }) => model.id), "deepseek-flash")
      }))

    it.effect("the balance", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const answer = yield* send(`${url}/user/balance`)
        assert.strictEqual(answer.json.is_available, true)
      }))

    it.effect("health and readiness", () =>
      Effect.gen(function*() {
        const { inspect, url } = yield* Running
        const before = yield* inspect
        assert.deepStrictEqual((yield* send(`${url}/healthz`)).json, { status: "ok" })
        const ready = yield* send(`${url}/readyz`)
        assert.strictEqual(ready.status, 200)
        assert.deepInclude(ready.json, { status: "ready", upstream: "simulator" })
        assert.isObject(ready.json.circuits)
        assert.strictEqual((yield* inspect).requests, before.requests)
      }))

    it.effect.each(["/v1/models/deepseek-flash", "/models/deepseek-flash", "//v1/models/deepseek%2Dflash?x=1"])(
      "one model at %s",
      (path) =>
        Effect.gen(function*() {
          const { url } = yield* Running
          const answer = yield* send(url + path)
          assert.deepStrictEqual([answer.status, answer.json.id], [200, "deepseek-flash"])
        })
    )

    it.effect("for a model that there is not, with those that there are", () =>
      Effect.gen(function*() {
        const { log, url } = yield* Running
        const id = "no-model"
        const answer = yield* send(`${url}/v1/models/deep/seek`, { headers: { "x-request-id": id } })
        assert.deepStrictEqual([answer.status, answer.json.error.code], [404, "model_not_found"])
        assert.include(answer.json.error.message, "\"deep/seek\"")
        assert.include(answer.json.error.message, "deepseek-flash")
        assert.isDefined(log.find((line) => line["request_id"] === id))
        const metrics = yield* send(`${url}/metrics`)
        assert.include(metrics.text, "route=\"/v1/models/{id}\",status=\"404\"")
      }))

    it.effect("HEAD where GET works, without a body", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const answer = yield* send(`${url}/v1/models`, { method: "HEAD" })
        assert.strictEqual(answer.status, 200)
        assert.strictEqual(answer.text, "")
      }))

    it.effect("OPTIONS with the methods, and nothing that lets web pages in", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const origin = "http://localhost:3000"
        const answer = yield* send(url + chat, { method: "OPTIONS", headers: { origin } })
        assert.strictEqual(answer.status, 204)
        assert.strictEqual(answer.headers.get("allow"), "POST, OPTIONS")
        assert.isNull(answer.headers.get("access-control-allow-origin"))
      }))

    it.effect("Expect: 100-continue", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const body = JSON.stringify(hello)
        const answer = yield* raw(
          url,
          `POST ${chat} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nexpect: 100-continue\r\n` +
            `content-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`
        )
        assert.match(answer, /^HTTP\/1.1 100 Continue\r\n\r\nHTTP\/1.1 200 OK/)
      }))

    it.effect("HTTP/1.0, which knows no host", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        assert.match(yield* raw(url, "GET /healthz HTTP/1.0\r\n\r\n"), /^HTTP\/1.1 200 OK/)
      }))

    it.effect("passes unknown fields of the request to the service", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const answer = yield* post(url + chat, { ...hello, brand_new_field: { deep: [1, 2] } })
        assert.strictEqual(answer.status, 200)
      }))
  })

  layer(gateway(), { excludeTestServices: true })("refuses", (it) => {
    const error = (answer: Answer) => answer.json.error

    it.effect("an unknown path", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const answer = yield* post(`${url}/v1/nowhere?x=1`, hello)
        assert.strictEqual(answer.status, 404)
        assert.strictEqual(error(answer).code, "unknown_url")
        assert.include(error(answer).message, "/v1/nowhere")
        assert.strictEqual(answer.headers.get("x-ballast-upstream"), "simulator")
      }))

    it.effect("a method that the path does not take", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const get = yield* send(url + chat)
        assert.deepStrictEqual([get.status, get.headers.get("allow")], [405, "POST, OPTIONS"])
        const del = yield* send(`${url}/v1/models`, { method: "DELETE" })
        assert.deepStrictEqual([del.status, del.headers.get("allow")], [405, "GET, HEAD, OPTIONS"])
        assert.strictEqual(error(del).code, "method_not_allowed")
      }))

    it.effect.each(
      [
        [
          "headers over 16 KiB",
          `GET / HTTP/1.1\r\nhost: localhost\r\nx: ${"y".repeat(40_000)}\r\n\r\n`,
          431,
          "headers_too_large"
        ],
        [
          "a path over 16 KiB",
          `GET /${"y".repeat(40_000)} HTTP/1.1\r\nhost: localhost\r\n\r\n`,
          431,
          "headers_too_large"
        ],
        ["a request line that is none", "GET / HTPP\r\n\r\n", 400, "malformed_request"],
        ["another protocol", "\x16\x03\x01\x02", 400, "malformed_request"],
        ["a tunnel", "CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n", 405, "method_not_allowed"]
      ] as const
    )("what is no request: %s", ([, bytes, status, code]) =>
      Effect.gen(function*() {
        const { log, url } = yield* Running
        const [head, body] = (yield* raw(url, bytes)).split("\r\n\r\n")
        assert.match(head!, new RegExp(`^HTTP/1.1 ${status} `))
        assert.match(head!, /^content-type: application\/json$/im)
        assert.match(head!, /^connection: close$/im)
        assert.match(head!, /^x-ballast-upstream: simulator$/im)
        assert.strictEqual(JSON.parse(body!).error.code, code)
        const id = /^x-request-id: (.*)$/im.exec(head!)![1]
        yield* eventually(Effect.sync(() => log.some((line) => line["request_id"] === id)))
        assert.deepInclude(log.find((line) => line["request_id"] === id), { status, error: code })
      }))

    it.effect.each(
      [
        ["no host", "connection: close", 400, "malformed_request"],
        [
          "an expectation that is not met",
          "host: localhost\r\nexpect: nonsense\r\nconnection: close",
          417,
          "expectation_failed"
        ]
      ] as const
    )("a request with %s", ([, headers, status, code]) =>
      Effect.gen(function*() {
        const { inspect, log, url } = yield* Running
        const before = yield* inspect
        const [head, body] = (yield* raw(
          url,
          `POST ${chat} HTTP/1.1\r\n${headers}\r\ncontent-type: application/json\r\n` +
            `content-length: ${JSON.stringify(hello).length}\r\n\r\n${JSON.stringify(hello)}`
        )).split("\r\n\r\n")
        assert.match(head!, new RegExp(`^HTTP/1.1 ${status} `))
        assert.match(head!, /^x-ballast-upstream: simulator$/im)
        assert.strictEqual(JSON.parse(body!).error.code, code)
        const id = /^x-request-id: (.*)$/im.exec(head!)![1]
        yield* eventually(Effect.sync(() => log.some((line) => line["request_id"] === id)))
        assert.deepInclude(log.find((line) => line["request_id"] === id), { status, error: code })
        assert.strictEqual((yield* inspect).requests, before.requests)
      }))

    it.effect("what is no request, and hangs up on who does not", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const { hostname, port } = new URL(url)
        const socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true }, () =>
          socket.write("oops\r\n"))
        yield* Effect.callback<void>((resume) => {
          socket.on("error", () => {})
          socket.once("end", () =>
            resume(Effect.void)).resume()
        })
        // Only who has closed both ways answers a late byte by a reset.
        yield* eventually(Effect.sync(() => socket.destroyed || !socket.write("oops\r\n")))
      }))

    it.effect("what is no request in the middle of an answer, by closing the connection", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const body = JSON.stringify({ ...hello, stream: true })
        const received = yield* Effect.callback<string>((resume) => {
          const { hostname, port } = new URL(url)
          let received = ""
          const socket = connect(Number(port), hostname, () =>
            socket.write(
              `POST ${chat} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nx-simulate: stall=5\r\n` +
                `content-length: ${body.length}\r\n\r\n${body}`
            ))
          socket.setEncoding("utf8").on("data", (text: string) => received += text)
          socket.once("data", () => socket.write("oops\r\n"))
          socket.once("close", () => resume(Effect.succeed(received)))
        })
        assert.match(received, /^HTTP\/1.1 200 OK/)
        assert.notInclude(received, "malformed_request")
      }))

    it.effect("another content type, or none", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const form = yield* post(url + chat, hello, { "content-type": "application/x-www-form-urlencoded" })
        assert.strictEqual(form.status, 415)
        assert.include(error(form).message, "application/json")
        const none = yield* raw(
          url,
          `POST ${chat} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}`
        )
        assert.match(none, /^HTTP\/1.1 415 /)
        const gzip = yield* post(url + chat, hello, { "content-encoding": "gzip" })
        assert.strictEqual(gzip.status, 415)
        const charset = yield* post(url + chat, hello, { "content-type": "Application/JSON; charset=utf-8" })
        assert.strictEqual(charset.status, 200)
      }))

    it.effect("JSON that is malformed, with the place", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const answer = yield* post(url + chat, "{\"model\": \"deepseek-flash\",\n \"messages\": oops}")
        assert.strictEqual(answer.status, 400)
        assert.strictEqual(error(answer).code, "malformed_json")
        assert.include(error(answer).message, "unexpected \"o\" at position 41 (line 2, column 14)")
        assert.include(error(yield* post(url + chat, "")).message, "empty")
      }))

    it.effect.each(
      [
        [[], null, "JSON object"],
        ["\"text\"", null, "JSON object"],
        [{ messages: hello.messages }, "model", "`model`"],
        [{ ...hello, model: "" }, "model", "`model`"],
        [{ ...hello, model: 1 }, "model", "`model`"],
        [{ model: "deepseek-flash" }, "messages", "`messages`"],
        [{ ...hello, messages: [] }, "messages", "`messages`"],
        [{ ...hello, messages: "Hello" }, "messages", "`messages`"],
        [{ ...hello, stream: "yes" }, "stream", "`stream`"]
      ] as const
    )("an envelope that is none: %j", ([body, param, text]) =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const answer = yield* post(url + chat, body)
        assert.strictEqual(answer.status, 400)
        assert.strictEqual(error(answer).type, "invalid_request_error")
        assert.strictEqual(error(answer).param, param)
        assert.include(error(answer).message, text)
      }))

    it.effect("a model whose name is longer than 256 characters", () =>
      Effect.gen(function*() {
        const { inspect, url } = yield* Running
        const before = yield* inspect
        const long = yield* post(url + chat, { ...hello, model: "m".repeat(256) })
        assert.strictEqual(error(long).code, "model_not_found")
        const longer = yield* post(url + chat, { ...hello, model: "m".repeat(257) })
        assert.deepStrictEqual([longer.status, error(longer).param], [400, "model"])
        assert.include(error(longer).message, "256 characters")
        assert.strictEqual((yield* inspect).requests, before.requests + 1)
      }))

    it.effect("a body over 16 MiB, by its announced and by its real length, and names the setting", () =>
      Effect.gen(function*() {
        const { inspect, url } = yield* Running
        const before = yield* inspect
        const announced = yield* raw(
          url,
          `POST ${chat} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 16777217\r\n\r\n{`
        )
        assert.match(announced, /^HTTP\/1.1 413 /)
        assert.include(announced, "body_too_large")
        assert.include(announced, "16 MiB, the gateway's BALLAST_MAX_BODY_SIZE")
        const head =
          `POST ${chat} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n`
        const piece = Buffer.concat([
          Buffer.from("1100000\r\n"),
          Buffer.alloc(0x1100000, " "),
          Buffer.from("\r\n0\r\n\r\n")
        ])
        const real = yield* raw(url, Buffer.concat([Buffer.from(head), piece]))
        assert.match(real, /^HTTP\/1.1 413 /)
        assert.strictEqual((yield* inspect).requests, before.requests)
      }))

    it.effect.each([["[", 128, "128 levels"], ["{},", 250_000, "250000 values"]] as const)(
      "JSON that would build too much: %s more often than %d times",
      ([piece, times, text]) =>
        Effect.gen(function*() {
          const { url } = yield* Running
          const answer = yield* post(url + chat, piece.repeat(times + 1))
          assert.deepStrictEqual([answer.status, error(answer).code], [400, "malformed_json"])
          assert.include(error(answer).message, text)
        })
    )

    it.effect("what the service refuses, in the service's words", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        for (const stream of [false, true]) {
          const answer = yield* post(url + chat, { ...hello, model: "gpt-4", stream })
          assert.strictEqual(answer.status, 400)
          assert.strictEqual(error(answer).code, "model_not_found")
          assert.include(error(answer).message, "deepseek-flash, deepseek-v4-pro, but you passed gpt-4")
        }
      }))

    it.effect("not: strict tools that DeepSeek can not have, which go as plain ones", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const parameters = { type: "object", properties: { port: { type: ["string", "null"] } }, required: ["port"] }
        const tools = [{ type: "function", function: { name: "tide", strict: true, parameters } }]
        assert.strictEqual((yield* post(url + chat, { ...hello, tools })).status, 200)
      }))

    it.effect("what the service would refuse, with the field", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        for (const stream of [false, true]) {
          const hot = yield* post(url + chat, { ...hello, temperature: 9, stream })
          assert.deepInclude(error(hot), { param: "temperature", code: "invalid_request" })
          assert.strictEqual(error(hot).message, "temperature must be from 0 to 2, is 9")
          assert.strictEqual(hot.status, 400)
        }
      }))

    it.effect.each(
      [
        ["status=401", 502, "upstream_authentication_error", { "x-should-retry": "false" }],
        ["status=402", 402, "insufficient_balance", {}],
        ["status=429,limit=rate,retry-after=7", 429, "rate_limit_exceeded", {
          "retry-after": "7",
          "retry-after-ms": "7000"
        }],
        ["status=429", 429, "concurrency_exceeded", { "retry-after": null, "x-should-retry": "false" }],
        ["status=429,limit=balance", 429, "concurrency_exceeded", { "x-should-retry": "false" }],
        ["status=500", 502, "upstream_error", {}],
        ["status=503", 503, "upstream_overloaded", {}],
        ["status=504", 502, "upstream_error", {}],
        ["cut=0", 502, "upstream_connection_lost", {}],
        ["malformed", 502, "upstream_malformed", {}],
        ["empty", 502, "upstream_empty", {}]
      ] as const
    )("as the upstream's failure deserves: %s", ([fault, status, code, headers]) =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const answer = yield* post(url + chat, hello, { "x-simulate": fault })
        assert.deepStrictEqual([answer.status, error(answer).code], [status, code])
        for (const [name, value] of Object.entries(headers)) assert.strictEqual(answer.headers.get(name), value, name)
        assert.notInclude(answer.text, "sk-")
        assert.notInclude(answer.text, "<html")
      }))

    it.effect.each(["status=503", "status=401", "cut=0"])(
      "with a real status before a stream's first chunk: %s",
      (fault) =>
        Effect.gen(function*() {
          const { url } = yield* Running
          const answer = yield* post(url + chat, { ...hello, stream: true }, { "x-simulate": fault })
          assert.isAtLeast(answer.status, 500)
          assert.match(answer.headers.get("content-type")!, /^application\/json/)
        })
    )

    it.effect.each(
      [["cut=3", "upstream_truncated"], ["end=3", "upstream_truncated"], ["error=3", undefined]] as const
    )("by an event once a stream has begun: %s", ([fault, code]) =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const answer = yield* post(url + chat, { ...hello, stream: true }, { "x-simulate": fault })
        assert.strictEqual(answer.status, 200)
        const events = answer.text.trimEnd().split("\n\n")
        assert.notInclude(answer.text, "[DONE]")
        const last = JSON.parse(events.at(-1)!.replace(/^data: /, ""))
        assert.isString(last.error.message)
        if (code !== undefined) assert.strictEqual(last.error.code, code)
      }))
  })

  const stated = { message: "Content Exists Risk", type: "invalid_request_error" }
  layer(
    gateway({
      answers: {
        body: () =>
          new Response(`\n\n${JSON.stringify({ error: stated })}`, { headers: { "content-type": "application/json" } }),
        event: () =>
          new Response(`data: ${JSON.stringify({ error: stated })}\n\n`, {
            headers: { "content-type": "text/event-stream" }
          })
      }
    }),
    { excludeTestServices: true }
  )("an answer of 200 that states an error", (it) => {
    it.effect.each([["body", false], ["body", true], ["event", true]] as const)(
      "has the status that the error deserves: %s, stream %s",
      ([answer, stream]) =>
        Effect.gen(function*() {
          const { url } = yield* Running
          const refused = yield* post(url + chat, { ...hello, stream }, { "x-simulate": answer })
          assert.deepStrictEqual([refused.status, refused.json.error.code], [400, "content_policy_violation"])
        })
    )
  })

  const inside = "no healthy upstream: connect to 10.12.3.4:8443 refused; Authorization: Bearer internal-token-xyz"
  const page = `<html><head><title>${inside}</title></head></html>`
  layer(
    gateway({
      answers: {
        "503 text": () => new Response(inside, { status: 503 }),
        "400 text": () => new Response(inside, { status: 400 }),
        "413 page": () => new Response(page, { status: 413, headers: { "content-type": "text/html" } }),
        "404 page": () => new Response(page, { status: 404, headers: { "content-type": "text/html" } })
      }
    }),
    { excludeTestServices: true }
  )("what a proxy says in the service's place", (it) => {
    it.effect("of a body that is too large has the gateway's own code", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const answer = yield* post(url + chat, hello, { "x-simulate": "413 page" })
        assert.deepStrictEqual([answer.status, answer.json.error.code], [413, "body_too_large"])
      }))

    it.effect.each(["503 text", "400 text", "404 page", "413 page"])(
      "is for the log only: %s",
      (answer) =>
        Effect.gen(function*() {
          const { log, url } = yield* Running
          for (const stream of [false, true]) {
            const id = `${answer.replace(" ", "-")}-${stream}`
            const failed = yield* post(url + chat, { ...hello, stream }, { "x-simulate": answer, "x-request-id": id })
            assert.strictEqual(failed.status, Number(answer.slice(0, 3)))
            assert.notMatch(failed.text, /10\.12|internal|html/)
            yield* eventually(Effect.sync(() => log.some((line) => line["request_id"] === id)))
            const line = log.find((line) => line["request_id"] === id)!
            assert.include(String(line["upstream_detail"]), "connect to 10.12.3.4:8443 refused")
            assert.notInclude(JSON.stringify(line), "token")
          }
        })
    )
  })

  const keyed = {
    clientKeys: ["key-of-alice", "bob:key-of-bob"],
    circuitBreaker: {},
    settings: { admin: { keys: { root: ["key-of-root"] } } }
  }
  layer(gateway(keyed), { excludeTestServices: true })(
    "client keys",
    (it) => {
      it.effect("are needed, except for probes", () =>
        Effect.gen(function*() {
          const { url } = yield* Running
          for (const path of ["/v1/models", "/models", "/user/balance", "/metrics"]) {
            const answer = yield* send(url + path)
            assert.deepStrictEqual([answer.status, answer.json.error.code], [401, "invalid_api_key"], path)
            assert.strictEqual(answer.headers.get("www-authenticate"), "Bearer")
          }
          assert.strictEqual((yield* post(url + chat, hello, { authorization: "Bearer key-of-eve" })).status, 401)
          assert.strictEqual((yield* send(`${url}/healthz`)).status, 200)
          assert.strictEqual((yield* send(`${url}/readyz`)).status, 200)
        }))

      it.effect("or an admin's, for the metrics alone", () =>
        Effect.gen(function*() {
          const { url } = yield* Running
          const headers = { authorization: "Bearer key-of-root" }
          assert.strictEqual((yield* send(`${url}/metrics`, { headers })).status, 200)
          assert.strictEqual((yield* send(`${url}/v1/models`, { headers })).status, 401)
        }))

      it.effect("are needed to see which models are in use", () =>
        Effect.gen(function*() {
          const { url } = yield* Running
          const key = { authorization: "Bearer key-of-alice" }
          yield* post(url + chat, hello, key)
          for (const headers of [key, { "x-api-key": "key-of-alice" }]) {
            const known = yield* send(`${url}/readyz`, { headers })
            assert.strictEqual(known.json.circuits[`simulator/default/${hello.model}`], "closed")
          }
          for (const headers of [{}, { authorization: "Bearer key-of-eve" }]) {
            const answer = yield* send(`${url}/readyz`, { headers })
            assert.strictEqual(answer.status, 200)
            assert.hasAllKeys(answer.json.circuits, ["closed", "half-open", "open"])
            assert.isAbove(answer.json.circuits.closed, 0)
          }
        }))

      it.effect("name the client in the log", () =>
        Effect.gen(function*() {
          const { log, url } = yield* Running
          const key = { authorization: "Bearer key-of-bob", "x-request-id": "bob" }
          yield* post(url + chat, hello, key)
          yield* eventually(Effect.sync(() => log.some((line) => line["request_id"] === "bob")))
          assert.strictEqual(log.find((line) => line["request_id"] === "bob")!["client"], "bob")
        }))

      it.effect("let pass, and go no further", () =>
        Effect.gen(function*() {
          const { log, url } = yield* Running
          for (const key of ["key-of-alice", "key-of-bob"]) {
            const answer = yield* post(url + chat, hello, { authorization: `Bearer ${key}` })
            // The simulator takes only keys that begin with "sk-": the gateway sent its own.
            assert.strictEqual(answer.status, 200)
          }
          assert.strictEqual(
            (yield* send(`${url}/metrics`, { headers: { authorization: "Bearer key-of-bob" } })).status,
            200
          )
          assert.notInclude(JSON.stringify(log), "key-of")
        }))
    }
  )

  layer(gateway({ kind: "deepseek", apiKey: "sk-0123456789", simulator: { keys: ["sk-other"] } }), {
    excludeTestServices: true
  })(
    "a wrong key of its own",
    (it) => {
      it.effect("is not the client's fault, and never shown", () =>
        Effect.gen(function*() {
          const { log, url } = yield* Running
          const answer = yield* post(url + chat, hello)
          assert.strictEqual(answer.status, 502)
          assert.strictEqual(answer.headers.get("x-ballast-upstream"), "deepseek")
          assert.strictEqual(answer.json.error.code, "upstream_authentication_error")
          assert.notInclude(answer.text + JSON.stringify(log), "6789")
        }))

      it.effect("x-simulate goes to the simulator only", () =>
        Effect.gen(function*() {
          const { url } = yield* Running
          const answer = yield* post(url + chat, hello, { "x-simulate": "status=503" })
          assert.strictEqual(answer.status, 502)
        }))
    }
  )

  layer(gateway({ circuitBreaker: { minimumCalls: 2, openDuration: "90s" } }), { excludeTestServices: true })(
    "an open circuit",
    (it) => {
      it.effect("is answered at once, says when to come back, and shows in /readyz", () =>
        Effect.gen(function*() {
          const { inspect, log, url } = yield* Running
          const model = "deepseek-v4-flash-vision-exp"
          for (let i = 0; i < 2; i++) yield* post(url + chat, { ...hello, model }, { "x-simulate": "status=503" })
          yield* eventually(Effect.sync(() => log.some((line) => line["message"] === "circuit opened")))
          const line = log.find((line) => line["message"] === "circuit opened")!
          assert.include(String(line["circuit"]), model)
          assert.deepInclude(line, { level: "warn", open_for_ms: 90_000 })
          const before = yield* inspect
          const answer = yield* post(url + chat, { ...hello, model })
          assert.deepStrictEqual([answer.status, answer.json.error.code], [503, "circuit_open"])
          assert.include(["89", "90"], answer.headers.get("retry-after"))
          assert.strictEqual((yield* inspect).requests, before.requests)
          const ready = yield* send(`${url}/readyz`)
          assert.strictEqual(ready.status, 200)
          assert.strictEqual(ready.json.circuits[`simulator/default/${model}`], "open")
        }))
    }
  )

  layer(gateway({ retry: { times: 2, base: "1ms" } }), { excludeTestServices: true })("attempts", (it) => {
    it.effect.each([[false, "status=503", 503, "3"], [true, "status=503", 503, "3"], [true, "", 200, "1"]] as const)(
      "are counted in the answer and in the log; stream %s, %s",
      ([stream, fault, status, attempts]) =>
        Effect.gen(function*() {
          const { log, url } = yield* Running
          const id = `attempts-${stream}-${attempts}`
          const answer = yield* post(url + chat, { ...hello, stream }, { "x-simulate": fault, "x-request-id": id })
          assert.deepStrictEqual([answer.status, answer.headers.get("x-ballast-attempts")], [status, attempts])
          yield* eventually(Effect.sync(() => log.some((line) => line["request_id"] === id)))
          const line = log.find((line) => line["request_id"] === id)!
          assert.strictEqual(line["attempts"], Number(attempts))
          assert.strictEqual(line["last_failure"], status === 503 ? "Overloaded" : undefined)
          assert.isNumber(line["waited_ms"])
          assert.strictEqual(line["client"], "anonymous")
          if (stream && status === 200) assert.isNumber(line["ttft_ms"])
        })
    )
  })

  let asked = 0
  const silent = () => new Response(new ReadableStream())
  layer(
    gateway({
      retry: { times: 2, base: "1ms" },
      answers: {
        silent,
        "503, then silent": () => asked++ === 0 ? new Response("{}", { status: 503 }) : silent()
      }
    }),
    { excludeTestServices: true }
  )("a client's deadline", (it) => {
    it.effect.each([["silent", "1", null], ["503, then silent", "2", "false"]] as const)(
      "ends a call, which the client may repeat unless the gateway has: %s",
      ([fault, attempts, repeats]) =>
        Effect.gen(function*() {
          const { url } = yield* Running
          const answer = yield* post(url + chat, hello, { "x-simulate": fault, "x-request-timeout": "500ms" })
          assert.deepStrictEqual([answer.status, answer.json.error.code], [504, "deadline_exceeded"])
          assert.strictEqual(answer.headers.get("x-ballast-attempts"), attempts)
          assert.strictEqual(answer.headers.get("x-should-retry"), repeats)
        })
    )
  })

  layer(gateway(), { excludeTestServices: true })("observes", (it) => {
    it.effect("the request id: a sane one is kept, another replaced", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const id = (value?: string) =>
          Effect.map(
            send(`${url}/healthz`, value === undefined ? {} : { headers: { "x-request-id": value } }),
            ({ headers }) => headers.get("x-request-id")
          )
        assert.strictEqual(yield* id("req-1.a:b"), "req-1.a:b")
        assert.match((yield* id())!, /^[0-9a-f-]{36}$/)
        assert.match((yield* id("a b"))!, /^[0-9a-f-]{36}$/)
        assert.match((yield* id("x".repeat(129)))!, /^[0-9a-f-]{36}$/)
      }))

    it.effect("the request id: one that the gateway makes is a UUID in the order of time", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const before = Date.now()
        const answer = yield* send(`${url}/healthz`)
        const id = answer.headers.get("x-request-id")!
        assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
        const time = Number.parseInt(id.replace("-", "").slice(0, 12), 16)
        assert.isAtLeast(time, before)
        assert.isAtMost(time, Date.now())
      }))

    const lineOf = (id: string) =>
      Effect.gen(function*() {
        const { log } = yield* Running
        const lines = () => log.filter((line) => line["message"] === "request" && line["request_id"] === id)
        yield* eventually(Effect.sync(() => lines().length > 0))
        assert.strictEqual(lines().length, 1)
        return lines()[0]!
      })

    it.effect("each request in one line, with its trace", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
        yield* post(`${url}${chat}?a=1`, { ...hello, stream: true }, {
          "x-request-id": "line-1",
          traceparent: `00-${trace}-00f067aa0ba902b7-01`
        })
        const line = yield* lineOf("line-1")
        assert.strictEqual(line["level"], "info")
        assert.strictEqual(line["message"], "request")
        assert.strictEqual(line["method"], "POST")
        assert.strictEqual(line["path"], chat)
        assert.strictEqual(line["status"], 200)
        assert.strictEqual(line["stream"], true)
        assert.strictEqual(line["model"], "deepseek-flash")
        assert.strictEqual(line["trace_id"], trace)
        assert.isNumber(line["duration_ms"])
        assert.isAbove(Number(line["output_tokens"]), 0)
        assert.notInclude(JSON.stringify(line), "Hello")
      }))

    it.effect("one id of the trace in answer and log: the caller's, else the trace's own", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const answer = (id: string, headers: Record<string, string>) =>
          Effect.zip(
            Effect.map(
              post(url + chat, { ...hello, stream: id.endsWith("s") }, { "x-request-id": id, ...headers }),
              ({ headers }) => headers.get("x-trace-id")
            ),
            lineOf(id)
          )
        for (const id of ["trace-1", "trace-1s"]) {
          const [given, line] = yield* answer(id, { "x-trace-id": "order-2026:17" })
          assert.strictEqual(given, "order-2026:17")
          assert.strictEqual(line["trace_id"], "order-2026:17")
          assert.match(String(line["span_trace_id"]), /^[0-9a-f]{32}$/)
        }
        const [own, ownLine] = yield* answer("trace-2", { "x-trace-id": "not sane" })
        assert.match(own!, /^[0-9a-f]{32}$/)
        assert.strictEqual(ownLine["trace_id"], own)
        const b3 = "463ac35c9f6413ad48485a3953bb6124"
        const [fromB3, b3Line] = yield* answer("trace-3", { b3: `${b3}-00f067aa0ba902b7-1` })
        assert.strictEqual(fromB3, b3)
        assert.strictEqual(b3Line["trace_id"], b3)
        assert.notProperty(b3Line, "span_trace_id")
      }))

    it.effect("a failure with its code and the service's trace id", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        yield* post(url + chat, hello, { "x-request-id": "line-2", "x-simulate": "status=503" })
        const line = yield* lineOf("line-2")
        assert.strictEqual(line["level"], "warn")
        assert.strictEqual(line["error"], "upstream_overloaded")
        assert.match(String(line["upstream_trace_id"]), /^[0-9a-f]{32}$/)
      }))

    it.effect("no more than the beginning of a long path", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const answer = yield* send(`${url}/${"x".repeat(9000)}`, { headers: { "x-request-id": "line-4" } })
        assert.strictEqual(answer.status, 404)
        assert.isBelow(answer.text.length, 600)
        assert.strictEqual((yield* lineOf("line-4"))["path"], `/${"x".repeat(255)}…`)
      }))

    it.effect("probes at debug level", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        yield* send(`${url}/healthz`, { headers: { "x-request-id": "line-3" } })
        assert.strictEqual((yield* lineOf("line-3"))["level"], "debug")
      }))

    it.effect("metrics in Prometheus' format", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        yield* post(url + chat, hello)
        const answer = yield* send(`${url}/metrics`)
        assert.match(answer.headers.get("content-type")!, /^text\/plain; version=0\.0\.4/)
        const lines = answer.text.trimEnd().split("\n")
        const typed = new Set<string>()
        for (const line of lines) {
          const type = /^# TYPE (\S+) (counter|gauge|histogram|summary)$/.exec(line)
          if (type !== null) {
            assert.isFalse(typed.has(type[1]!), line)
            typed.add(type[1]!)
            assert.property(MetricNames.table, type[1]!)
          } else if (!line.startsWith("# HELP ")) {
            assert.match(
              line,
              /^[a-z0-9_]+(\{[a-z_]+="([^"\\\n]|\\["\\n])*"(,[a-z_]+="([^"\\\n]|\\["\\n])*")*\})? (-?[\d.e+-]+|NaN|\+Inf)$/
            )
          }
        }
        for (
          const name of [
            "http_request_duration_seconds",
            "http_server_active_requests",
            "ballast_requests_total",
            "ballast_calls_total",
            "ballast_attempts_total",
            "ballast_overhead_seconds",
            "ballast_limit_running",
            "gen_ai_client_operation_duration_seconds",
            "gen_ai_client_token_usage"
          ]
        ) {
          assert.isTrue(typed.has(name), name)
        }
        assert.include(answer.text, "route=\"/v1/chat/completions\",status=\"200\"")
      }))

    it.effect("metrics as OpenMetrics where they are asked for, with traces of calls", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const traceId = (yield* post(url + chat, hello)).headers.get("x-trace-id")
        const scrape = send(`${url}/metrics`, { headers: { accept: "application/openmetrics-text" } })
        // A request is counted when its answer is complete, a moment later.
        yield* eventually(Effect.map(scrape, ({ text }) => text.split(`"${traceId}"`).length === 3))
        const answer = yield* scrape
        assert.match(answer.headers.get("content-type")!, /^application\/openmetrics-text; version=1\.0\.0/)
        assert.isTrue(answer.text.endsWith("# EOF\n"))
        const named = answer.text.split("\n").filter((line) => line.includes(` # {trace_id="${traceId}"} `))
        assert.deepStrictEqual([...new Set(named.map((line) => line.replace(/\{.*$/, "")))].sort(), [
          "gen_ai_client_operation_duration_seconds_bucket",
          "http_request_duration_seconds_bucket"
        ])
      }))
  })

  layer(gateway({ simulator: { timeToFirstToken: "1 hour" } }), { excludeTestServices: true })(
    "a client that goes away",
    (it) => {
      it.effect.each([false, true])("frees its call upstream at once; stream: %s", (stream) =>
        Effect.gen(function*() {
          const { inspect, log, url } = yield* Running
          const gone = new AbortController()
          const id = `gone-${stream}`
          const request = fetch(url + chat, {
            method: "POST",
            headers: { "content-type": "application/json", "x-request-id": id },
            body: JSON.stringify({ ...hello, stream }),
            signal: gone.signal
          }).catch(() => {})
          yield* eventually(Effect.map(inspect, ({ inFlight }) => inFlight === 1))
          gone.abort()
          yield* Effect.promise(() => request)
          yield* eventually(Effect.map(inspect, ({ inFlight }) => inFlight === 0))
          yield* eventually(Effect.sync(() => log.some((line) => line["request_id"] === id)))
          const line = log.find((line) => line["request_id"] === id)!
          assert.strictEqual(line["error"], "client_closed_request")
          assert.strictEqual(line["status"], 499)
        }))
    }
  )

  layer(gateway({ simulator: { tokensPerSecond: 5 } }), { excludeTestServices: true })(
    "a client that leaves a stream",
    (it) => {
      it.effect("is noticed while the stream is silent", () =>
        Effect.gen(function*() {
          const { log, url } = yield* Running
          const gone = new AbortController()
          const response = yield* Effect.promise(() =>
            fetch(url + chat, {
              method: "POST",
              headers: { "content-type": "application/json", "x-request-id": "silent", "x-simulate": "stall=3" },
              body: JSON.stringify({ ...hello, stream: true }),
              signal: gone.signal
            })
          )
          yield* Effect.promise(() => response.body!.getReader().read())
          gone.abort()
          yield* eventually(Effect.sync(() => log.some((line) => line["request_id"] === "silent")))
        }))

      it.effect("frees its call upstream at once", () =>
        Effect.gen(function*() {
          const { inspect, log, url } = yield* Running
          const gone = new AbortController()
          const response = yield* Effect.promise(() =>
            fetch(url + chat, {
              method: "POST",
              headers: { "content-type": "application/json", "x-request-id": "left" },
              body: JSON.stringify({ ...hello, stream: true }),
              signal: gone.signal
            })
          )
          assert.strictEqual(response.status, 200)
          assert.strictEqual((yield* inspect).inFlight, 1)
          gone.abort()
          yield* eventually(Effect.map(inspect, ({ inFlight }) => inFlight === 0))
          yield* eventually(Effect.sync(() => log.some((line) => line["request_id"] === "left")))
          const line = log.find((line) => line["request_id"] === "left")!
          assert.deepStrictEqual([line["status"], line["error"]], [200, "client_closed_request"])
          // Callers may do so: no line of trouble.
          assert.strictEqual(line["level"], "info")
        }))
    }
  )
})

layer(gateway({ settings: { providers: { simulator: { type: "simulator", preflight: false } } } }), {
  excludeTestServices: true
})("Gateway without preflight", (it) => {
  it.effect("leaves refusals to the service", () =>
    Effect.gen(function*() {
      const { url } = yield* Running
      const hot = yield* post(url + chat, { ...hello, temperature: 9 })
      assert.include(hot.text, "Invalid temperature value")
    }))
})
