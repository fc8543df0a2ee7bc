import { assert, describe, layer } from "@effect/vitest"
import { Effect } from "effect"
import { connect } from "node:net"
import { eventually, hello, layer as gateway, raw, Running } from "./harness.ts"

const body = JSON.stringify(hello)

const head = (version: string, length: number) =>
  `POST /v1/chat/completions HTTP/${version}\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${length}\r\n\r\n`

describe("connections", () => {
  layer(gateway({ simulator: { latency: "1 second" } }), { excludeTestServices: true })(
    "that are half closed",
    (it) => {
      it.effect("get their answer", () =>
        Effect.gen(function*() {
          const { url } = yield* Running
          const received = yield* raw(url, head("1.1", body.length) + body, { halfClose: true })
          const answers = received.split(/(?=HTTP\/1\.1 )/)
          assert.match(answers.at(-1)!, /^HTTP\/1\.1 200 [^]*chat\.completion/)
          // Each is a probe whether the client is still there.
          assert.isAbove(answers.length, 1)
          for (const answer of answers.slice(0, -1)) assert.strictEqual(answer, "HTTP/1.1 100 Continue\r\n\r\n")
        }))

      it.effect("get their answer in the words of HTTP/1.0", () =>
        Effect.gen(function*() {
          const { url } = yield* Running
          const received = yield* raw(url, head("1.0", body.length) + body, { halfClose: true })
          assert.match(received, /^HTTP\/1\.1 200 [^]*chat\.completion/)
        }))

      it.effect("get each of the answers that are due, in order", () =>
        Effect.gen(function*() {
          const { url } = yield* Running
          const get = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
          const received = yield* raw(url, head("1.1", body.length) + body + get, { halfClose: true })
          assert.match(received, /HTTP\/1\.1 200 [^]*chat\.completion[^]*HTTP\/1\.1 200 [^]*\{"status":"ok"\}$/)
        }))

      it.effect("are refused with an incomplete request", () =>
        Effect.gen(function*() {
          const { url } = yield* Running
          const received = yield* raw(url, head("1.1", body.length + 1) + body, { halfClose: true })
          assert.match(received, /^HTTP\/1\.1 400 /)
        }))
    }
  )

  layer(gateway({ requestTimeout: "200ms" }), { excludeTestServices: true })("that are slow", (it) => {
    it.effect("to send a body are answered and closed", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const { hostname, port } = new URL(url)
        const socket = connect(Number(port), hostname)
        let received = ""
        socket.setEncoding("utf8").on("data", (text: string) => received += text)
        socket.on("error", () => {})
        socket.write(head("1.1", 100_000))
        const drip = Effect.sync(() => socket.writable && socket.write(" ")).pipe(
          Effect.andThen(Effect.sleep("20 millis")),
          Effect.forever
        )
        yield* Effect.raceFirst(drip, eventually(Effect.sync(() => socket.closed)))
        assert.match(received, /^HTTP\/1\.1 408 [^]*"code":"request_timeout"/)
      }))

    it.effect("to read their answer, or to ask again, are not cut", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const { hostname, port } = new URL(url)
        const socket = connect(Number(port), hostname)
        let received = ""
        socket.setEncoding("utf8").on("data", (text: string) => received += text)
        const get = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
        for (const count of [1, 2]) {
          socket.write(get)
          yield* eventually(Effect.sync(() => received.split("{\"status\":\"ok\"}").length === count + 1))
          yield* Effect.sleep("500 millis")
          assert.isFalse(socket.closed)
        }
        socket.destroy()
      }))
  })
})
