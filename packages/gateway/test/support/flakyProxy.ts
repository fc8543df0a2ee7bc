/** A TCP proxy in front of a server, which can be taken down (open connections are cut, new ones refused), or made to say nothing. */
import { Effect } from "effect"
import { connect, createServer, type Server, type Socket } from "node:net"

export interface FlakyProxy {
  readonly port: number
  readonly down: Effect.Effect<void>
  readonly up: Effect.Effect<void>
  /** Takes connections and passes nothing on, until it is released, which cuts them. */
  readonly hold: Effect.Effect<void>
  readonly release: Effect.Effect<void>
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
  let isHeld = false
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
    const passOn = (from: Socket, to: Socket) =>
      from.on("data", (bytes) => {
        if (!isHeld) to.write(bytes)
      })
    passOn(client, upstream)
    passOn(upstream, client)
  })
  const close = Effect.callback<void>((resume) => {
    server.close(() => resume(Effect.void))
    for (const socket of sockets) socket.destroy()
  })
  const port = yield* listen(server, 0)
  yield* Effect.addFinalizer(() => server.listening ? close : Effect.void)
  const cut = Effect.sync(() => {
    isHeld = false
    for (const socket of sockets) socket.destroy()
  })
  const proxy: FlakyProxy = {
    port,
    down: close,
    up: Effect.asVoid(listen(server, port)),
    hold: Effect.sync(() => isHeld = true),
    release: cut
  }
  return proxy
})
