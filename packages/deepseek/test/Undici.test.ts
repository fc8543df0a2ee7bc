import { DeepSeek, Undici } from "@ballast/deepseek"
import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Fiber, Latch, Layer, Scheduler, Stream } from "effect"
import { HttpBody, HttpClient, HttpClientRequest } from "effect/http"
import { TestClock } from "effect/testing"
import type * as Http from "node:http"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { bare, on, reasonOf, request } from "./support/client.ts"
import { serve } from "./support/loopback.ts"
import { completion, goodStream, token } from "./support/wire.ts"

setFlagsFromString("--expose-gc")
const collect: () => void = runInNewContext("gc")

const client = (options?: Undici.Options) =>
  Effect.map(Layer.build(Undici.layer(options)), (context) => Context.get(context, HttpClient.HttpClient))

/** Resolves when the other side has closed the connection of a response that was not finished. */
const closed = (response: Http.ServerResponse, latch: Latch.Latch) =>
  response.on("close", () => response.writableFinished || Latch.openUnsafe(latch))

describe("Undici", () => {
  describe("requests", () => {
    it.live("send method, path, query, headers and body", () =>
      Effect.gen(function*() {
        const url = yield* serve((request, response) => {
          const chunks: Array<Buffer> = []
          request.on("data", (chunk) => chunks.push(chunk))
          request.on("end", () =>
            response.setHeader("x-seen", String(request.headers["content-type"])).end(
              `${request.method} ${request.url} ${Buffer.concat(chunks)}`
            ))
        })
        const http = yield* client()
        const bodies = [
          [HttpBody.text("höllo", "text/plain"), "höllo"],
          [HttpBody.uint8Array(new TextEncoder().encode("bytes"), "text/plain"), "bytes"],
          [
            HttpBody.stream(
              Stream.make(new TextEncoder().encode("stre"), new TextEncoder().encode("am")),
              "text/plain"
            ),
            "stream"
          ],
          [HttpBody.raw("raw", { contentType: "text/plain" }), "raw"]
        ] as const
        for (const [body, expected] of bodies) {
          const response = yield* http.put(`${url}/path?a=1`, { urlParams: { b: "2" }, body })
          assert.strictEqual(yield* response.text, `PUT /path?a=1&b=2 ${expected}`)
          assert.strictEqual(response.headers["x-seen"], "text/plain")
          assert.strictEqual(response.status, 200)
        }
        assert.strictEqual(yield* (yield* http.get(`${url}/`)).text, "GET / ")
        const form = new FormData()
        form.append("field", "value")
        const response = yield* http.post(url, { body: HttpBody.formData(form) })
        assert.include(yield* response.text, "value")
        assert.match(response.headers["x-seen"] ?? "", /^multipart\/form-data; boundary=/)
      }))

    it.live("keep no body of more than 4 KiB once the response has begun", () =>
      Effect.gen(function*() {
        const seen: Array<string> = []
        const url = yield* serve((request, response) => {
          let size = 0
          request.on("data", (chunk) => size += chunk.length)
          request.on("end", () => {
            seen.push(`${request.headers["content-length"]} ${size}`)
            response.write("first")
          })
        })
        const http = yield* client()
        /** Begins to read a stream, and gives its request's bytes in a way that does not keep them. */
        const begin = Effect.gen(function*() {
          const bytes = new Uint8Array(5_000)
          const response = yield* http.post(url, { body: HttpBody.uint8Array(bytes, "text/plain") })
          const pull = yield* Stream.toPull(response.stream)
          yield* pull
          return { bytes: new WeakRef(bytes), pull }
        })
        const { bytes, pull } = yield* begin
        while (bytes.deref() !== undefined) {
          yield* Effect.promise(() => new Promise(setImmediate))
          collect()
        }
        assert.deepStrictEqual(seen, ["5000 5000"])
        assert.isDefined(pull)
      }))

    it.live("share kept connections, and take as many as there are calls", () =>
      Effect.gen(function*() {
        const sockets = new Set<unknown>()
        const all = yield* Latch.make()
        let waiting = 0
        const url = yield* serve((request, response) => {
          sockets.add(request.socket)
          if (request.url === "/quick") return void response.end("ok")
          if (++waiting === 50) Latch.openUnsafe(all)
          void Effect.runPromise(all.await).then(() => response.end("ok"))
        })
        const http = yield* client()
        for (let i = 0; i < 10; i++) yield* (yield* http.get(`${url}/quick`)).text
        // Undici lets a connection rest for one turn of the event loop, and takes a second one meanwhile.
        assert.isAtMost(sockets.size, 2)
        // Each answer waits for all: a pool too small would never end.
        yield* Effect.forEach(Array.from({ length: 50 }), () =>
          Effect.flatMap(http.get(`${url}/slow`), ({ text }) => text), {
          concurrency: "unbounded"
        })
        assert.isAtLeast(sockets.size, 50)
      }))

    it.live("fail with a transport error that keeps the code", () =>
      Effect.gen(function*() {
        const url = yield* Effect.scoped(serve(() => {}))
        const error = yield* Effect.flip((yield* client()).get(url))
        assert.strictEqual(error.reason._tag, "TransportError")
        assert.deepInclude(Object(error.cause), { code: "ECONNREFUSED" })
        const invalid = yield* Effect.flip((yield* client()).get("http://["))
        assert.strictEqual(invalid.reason._tag, "InvalidUrlError")
      }))
  })

  describe("bodies", () => {
    it.live("are read as text, JSON, bytes and form, more than once", () =>
      Effect.gen(function*() {
        const url = yield* serve((request, response) => {
          const body = new URL(`http://x${request.url}`).searchParams.get("body") ?? ""
          response.setHeader("content-type", "application/x-www-form-urlencoded")
          response.setHeader("set-cookie", "a=b").write(body.slice(0, 3))
          setImmediate(() => response.end(body.slice(3)))
        })
        const http = yield* client()
        const get = (body: string) => http.get(url, { urlParams: { body } })
        const json = yield* get("{\"a\":\"ö\"}")
        assert.deepStrictEqual(yield* json.json, { a: "ö" })
        assert.strictEqual(yield* json.text, "{\"a\":\"ö\"}")
        assert.strictEqual((yield* json.arrayBuffer).byteLength, 10)
        assert.deepStrictEqual(Object.keys(json.cookies.cookies), ["a"])
        assert.isNull(yield* (yield* get("")).json)
        assert.strictEqual((yield* Effect.flip((yield* get("no json")).json)).reason._tag, "DecodeError")
        assert.deepStrictEqual((yield* (yield* get("a=1")).urlParamsBody).params, [["a", "1"]])
        assert.strictEqual((yield* (yield* get("a=1")).formData).get("a"), "1")
        assert.strictEqual(yield* Stream.mkString(Stream.decodeText((yield* get("streamed")).stream)), "streamed")
      }))

    it.live("are read to their end wherever the fiber yields", () =>
      Effect.gen(function*() {
        const url = yield* serve((_, response) => {
          response.write("one ")
          setImmediate(() => response.end("two"))
        })
        const http = yield* client()
        for (let budget = 3; budget <= 32; budget++) {
          const read = Effect.gen(function*() {
            const streamed = yield* Stream.mkString(Stream.decodeText((yield* http.get(url)).stream))
            return [streamed, yield* (yield* http.get(url)).text]
          })
          const texts = yield* Effect.provideService(read, Scheduler.MaxOpsBeforeYield, budget)
          assert.deepStrictEqual(texts, ["one two", "one two"], `with a budget of ${budget}`)
        }
      }))

    it.live("pause the socket of a slow consumer", () =>
      Effect.gen(function*() {
        const size = 16 * 1024 * 1024
        let drained = false
        const url = yield* serve((_, response) => {
          response.write(Buffer.alloc(size), () => drained = true)
          response.end()
        })
        const response = yield* (yield* client({ bufferSize: 1024 })).get(url)
        let read = 0
        let early = false
        yield* Stream.runForEach(response.stream, (bytes) => {
          read += bytes.byteLength
          early ||= drained && read < size / 4
          return Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
        })
        assert.deepStrictEqual([read, early], [size, false])
      }))

    it.live("fail with a decode error when the connection breaks", () =>
      Effect.gen(function*() {
        const url = yield* serve((_, response) => {
          response.writeHead(200, { "content-length": "10" }).write("abc")
          setImmediate(() => response.destroy())
        })
        const http = yield* client()
        const error = yield* Effect.flip(Effect.flatMap(http.get(url), ({ text }) => text))
        assert.strictEqual(error.reason._tag, "DecodeError")
        assert.deepInclude(Object(error.cause), { code: "UND_ERR_SOCKET" })
        const seen: Array<string> = []
        const streamed = yield* Effect.flip(Effect.flatMap(http.get(url), ({ stream }) =>
          Stream.runForEach(Stream.decodeText(stream), (text) =>
            Effect.sync(() => seen.push(text)))))
        assert.deepStrictEqual([streamed.reason._tag, seen], ["DecodeError", ["abc"]])
      }))
  })

  describe("interruption", () => {
    it.live("aborts a request that waits for its response", () =>
      Effect.gen(function*() {
        const [arrived, gone] = [yield* Latch.make(), yield* Latch.make()]
        const url = yield* serve((_, response) => {
          closed(response, gone)
          Latch.openUnsafe(arrived)
        })
        const deepseek = yield* on(Undici.layer(), { ...bare, baseUrl: url })
        const fiber = yield* Effect.forkChild(deepseek.complete(request))
        yield* arrived.await
        yield* Fiber.interrupt(fiber)
        yield* gone.await
      }))

    it.live("aborts a request whose body is being read", () =>
      Effect.gen(function*() {
        const [arrived, gone] = [yield* Latch.make(), yield* Latch.make()]
        const url = yield* serve((_, response) => {
          closed(response, gone)
          response.writeHead(200, { "content-type": "application/json" }).write("\n", () => Latch.openUnsafe(arrived))
        })
        const deepseek = yield* on(Undici.layer(), { ...bare, baseUrl: url })
        const fiber = yield* Effect.forkChild(deepseek.complete(request))
        yield* arrived.await
        yield* Fiber.interrupt(fiber)
        yield* gone.await
      }))

    it.live("aborts a stream, also with all policies in place", () =>
      Effect.gen(function*() {
        for (const policies of [bare, { apiKey: bare.apiKey }]) {
          const [first, gone] = [yield* Deferred.make<void>(), yield* Latch.make()]
          const url = yield* serve((_, response) => {
            closed(response, gone)
            response.writeHead(200, { "content-type": "text/event-stream" }).write(token("a"))
          })
          const deepseek = yield* on(Undici.layer(), { ...policies, baseUrl: url })
          const fiber = yield* Effect.forkChild(
            Stream.runForEach(deepseek.stream(request), () => Deferred.succeed(first, undefined))
          )
          yield* Deferred.await(first)
          yield* Fiber.interrupt(fiber)
          yield* gone.await
        }
      }))

    it.live("aborts a stream whose consumer takes no more", () =>
      Effect.gen(function*() {
        const gone = yield* Latch.make()
        const url = yield* serve((_, response) => {
          closed(response, gone)
          response.writeHead(200, { "content-type": "text/event-stream" }).write(token("a"))
        })
        const deepseek = yield* on(Undici.layer(), { apiKey: bare.apiKey, baseUrl: url })
        yield* Stream.runHead(deepseek.stream(request))
        yield* gone.await
      }))

    it.effect("comes with a deadline, of the stream or of the call", () =>
      Effect.gen(function*() {
        for (
          const [deadlines, deadline] of [[{ idle: "1 minute" }, "idle"], [{ total: "1 minute" }, "total"]] as const
        ) {
          const [first, gone] = [yield* Deferred.make<void>(), yield* Latch.make()]
          const url = yield* serve((_, response) => {
            closed(response, gone)
            response.writeHead(200, { "content-type": "text/event-stream" }).write(token("a"))
          })
          const deepseek = yield* on(Undici.layer(), { ...bare, baseUrl: url, deadlines })
          const fiber = yield* Effect.forkChild(
            reasonOf(Stream.runForEach(deepseek.stream(request), () => Deferred.succeed(first, undefined)))
          )
          yield* Deferred.await(first)
          // The next pull is on its way when the consumer has run.
          yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
          yield* TestClock.adjust("1 minute")
          assert.deepInclude(yield* Fiber.join(fiber), { _tag: "DeadlineExceeded", deadline })
          yield* gone.await
        }
      }))

    it.live("comes with the end of the layer too", () =>
      Effect.gen(function*() {
        const [arrived, gone] = [yield* Latch.make(), yield* Latch.make()]
        const url = yield* serve((_, response) => {
          closed(response, gone)
          Latch.openUnsafe(arrived)
        })
        const call = Effect.flatMap(HttpClient.HttpClient, (http) =>
          Effect.andThen(Effect.forkDetach(http.get(url), { startImmediately: true }), arrived.await))
        yield* Effect.provide(call, Undici.layer())
        yield* gone.await
      }))
  })

  it.live("keeps a connection after a stream that ended", () =>
    Effect.gen(function*() {
      const sockets = new Set<unknown>()
      const url = yield* serve((message, response) => {
        sockets.add(message.socket)
        const chunks: Array<Buffer> = []
        message.on("data", (chunk) => chunks.push(chunk))
        message.on("end", () => {
          if (!Buffer.concat(chunks).includes("\"stream\":true")) return response.end(JSON.stringify(completion()))
          response.writeHead(200, { "content-type": "text/event-stream" })
          for (const piece of goodStream.body ?? []) response.write(piece)
          return setImmediate(() => response.end())
        })
      })
      const deepseek = yield* on(Undici.layer(), { apiKey: bare.apiKey, baseUrl: url })
      for (let i = 0; i < 10; i++) {
        yield* Stream.runDrain(deepseek.stream(request))
        yield* deepseek.complete(request)
      }
      assert.isAtMost(sockets.size, 2)
    }))

  it.live("lets a client die of a header that is none", () =>
    Effect.gen(function*() {
      const deepseek = yield* on(Undici.layer(), { apiKey: bare.apiKey, baseUrl: yield* serve(() => {}) })
      const headers = { "x-bad": "a\nb" }
      const exit = yield* Effect.exit(
        Effect.provideService(deepseek.complete(request), DeepSeek.CurrentHeaders, headers)
      )
      assert.isTrue(exit._tag === "Failure" && exit.cause.reasons[0]?._tag === "Die")
    }))

  it("checks its options", () => {
    const refused = (options: Undici.Options, field: string) =>
      assert.throws(() => Undici.layer(options), RangeError, field)
    refused({ connections: 0 }, "connections")
    refused({ connectTimeout: 0 }, "connectTimeout")
    refused({ keepAliveTimeout: "0 seconds" }, "keepAliveTimeout")
    refused({ bufferSize: NaN }, "bufferSize")
  })

  it.live("serves requests made by hand", () =>
    Effect.gen(function*() {
      const url = yield* serve((_, response) => response.end("ok"))
      const response = yield* (yield* client()).execute(HttpClientRequest.get(`${url}/a#hash`))
      assert.strictEqual(response.url, `${url}/a`)
      assert.deepInclude(Object(response.toJSON()), { status: 200 })
    }))
})
