/** A TCP proxy in front of a server, which can be taken down: open connections are cut, and new ones refused. */
import { Effect } from "effect"
import { connect, createServer, type Server, type Socket } from "node:net"

export interface FlakyProxy {
  readonly port: number
  readonly down: Effect.Effect<void>
  readonly up: Effect.Effect<void>
}

const listen = (server: Server, port: number) =>
  Effect.callback<number>((resume) => {
    server.listen(port, "127.0.0.1", () => {
      const address = server.address()
      resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0))
    })
  })

export const make = Effect.fnUntraced(function*(target: { readonly host: string; readonly port: number }) {
  const sockets = new Set<Socket>()
  const server = createServer((client) => {
    const upstream = connect(target.port, target.host)
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on("error", () => {})
      socket.on("close", () => {
        sockets.delete(socket)
        client.destroy()
        upstream.destroy()
      })
    }
    client.pipe(upstream).pipe(client)
  })
  const close = Effect.callback<void>((resume) => {
    server.close(() => resume(Effect.void))
    for (const socket of sockets) socket.destroy()
  })
  const port = yield* listen(server, 0)
  yield* Effect.addFinalizer(() => server.listening ? close : Effect.void)
  const proxy: FlakyProxy = { port, down: close, up: Effect.asVoid(listen(server, port)) }
  return proxy
})
