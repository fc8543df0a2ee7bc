/** A client that does not read: what of its stream waits in the gateway is bounded. */
import { Gateway, Settings, Upstream } from "@ballast/gateway"
import { NodeFileSystem } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { subscribe, unsubscribe } from "node:diagnostics_channel"
import { createServer, type ServerResponse } from "node:http"
import { type AddressInfo, connect, type Socket } from "node:net"
import { eventually, hello } from "./harness.ts"

/** The sockets that a channel of Node's tells of. */
const socketsOf = (channel: string) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => {
        const all: Array<Socket> = []
        const listener = (message: unknown) => all.push(Object(message).socket)
        subscribe(channel, listener)
        return { all, listener }
      }),
      ({ listener }) => Effect.sync(() => unsubscribe(channel, listener))
    ),
    ({ all }) => all
  )

const event = (content: string, finish: string | null = null) =>
  `data: ${JSON.stringify({ id: "a", choices: [{ index: 0, delta: { content }, finish_reason: finish }] })}\n\n`

const piece = event("x".repeat(16_000))

/** A service that writes up to 64 MB of events, as fast as they are taken. */
const service = Effect.acquireRelease(
  Effect.callback<{ readonly url: string; readonly answers: ReadonlyArray<ServerResponse>; close: () => void }>(
    (resume) => {
      const answers: Array<ServerResponse> = []
      const server = createServer((request, answer) => {
        request.resume()
        answers.push(answer)
        let left = 4000
        const more = () => {
          while (left-- > 0) if (!answer.write(piece)) return void answer.once("drain", more)
          answer.end(event("", "stop"))
        }
        answer.writeHead(200, { "content-type": "text/event-stream" })
        more()
      })
      server.listen(0, "127.0.0.1", () => {
        const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
        const close = () => {
          server.closeAllConnections()
          server.close()
        }
        resume(Effect.succeed({ url, answers, close }))
      })
    }
  ),
  ({ close }) => Effect.sync(close)
)

describe("a client that does not read", () => {
  it.live("makes the gateway hold no more than 512 KiB of its stream", () =>
    Effect.gen(function*() {
      const upstream = yield* socketsOf("undici:client:connected")
      const downstream = yield* socketsOf("http.server.request.start")
      const { answers, url } = yield* service
      const settings = yield* Settings.makeValues({
        listen: { port: 0 },
        deepseek: { apiKey: "sk-test", baseUrl: url },
        limits: { shutdownTimeout: "0s" }
      })
      const address = yield* Gateway.serve({ settings, upstream: yield* Upstream.make(settings) })
      const port = address._tag === "UnixPathAddress" ? 0 : address.port
      const body = JSON.stringify({ ...hello, stream: true })
      const client = connect(port, "127.0.0.1")
      client.pause()
      yield* Effect.addFinalizer(() => Effect.sync(() => client.destroy()))
      client.write(
        `POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`
      )
      const own = () => downstream.find((socket) => socket.localPort === port)
      yield* eventually(
        Effect.sync(() => (own()?.writableNeedDrain ?? false) && (answers[0]?.writableNeedDrain ?? false))
      )
      const to = own()!
      const held = upstream[0]!.bytesRead - (to.bytesWritten - to.writableLength)
      assert.isAtMost(held, 512 * 1024)
      assert.isAbove(upstream[0]!.bytesRead, 512 * 1024)
      client.destroy()
      yield* eventually(Effect.sync(() => answers[0]!.destroyed))
    }).pipe(Effect.provide(NodeFileSystem.layer)))
})
