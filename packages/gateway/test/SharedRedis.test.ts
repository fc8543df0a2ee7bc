import { assert, describe, it } from "@effect/vitest"
import { Effect, Logger, Redacted } from "effect"
import { createServer, type Socket } from "node:net"
import { freePort } from "../../../test/support/freePort.ts"
import { connect } from "../src/internal/sharedRedis.ts"
import { eventually } from "./harness.ts"

/** Answers everything with PONG. `end` ends it with its connections. */
const ponging = (port: number) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const sockets = new Set<Socket>()
      const server = createServer((socket) => {
        sockets.add(socket)
        socket.on("error", () => undefined)
        socket.on("data", (bytes) => void socket.write("+PONG\r\n".repeat(`${bytes}`.match(/^\*/gm)?.length ?? 0)))
      }).listen(port, "127.0.0.1")
      const end = () => {
        server.close()
        for (const socket of sockets) socket.destroy()
      }
      return { end }
    }),
    ({ end }) => Effect.sync(end)
  )

describe("the Redis of the settings", () => {
  it.live("may be down at the start: commands fail until it is there", () =>
    Effect.gen(function*() {
      const port = yield* Effect.promise(() => freePort())
      const client = yield* connect(Redacted.make(`redis://127.0.0.1:${port}`))
      assert.strictEqual((yield* Effect.flip(client.send("PING")))._tag, "RedisError")
      yield* ponging(port)
      yield* eventually(Effect.map(Effect.result(client.send("PING")), ({ _tag }) => _tag === "Success"))
    }))

  it.live("is told of once when it is lost, and once when it is back", () =>
    Effect.gen(function*() {
      const lines: Array<string> = []
      const logger = Logger.make(({ message }) =>
        void lines.push(String(Array.isArray(message) ? message[0] : message))
      )
      const port = yield* Effect.promise(() => freePort())
      const tries: Array<Socket> = []
      const closed = createServer((socket) => void tries.push(socket.destroy())).listen(port, "127.0.0.1")
      yield* Effect.gen(function*() {
        const client = yield* connect(Redacted.make(`redis://127.0.0.1:${port}`))
        const answers = Effect.map(Effect.result(client.send("PING")), ({ _tag }) => _tag === "Success")
        yield* eventually(Effect.sync(() => tries.length > 1))
        closed.close()
        const redis = yield* ponging(port)
        yield* eventually(answers)
        redis.end()
        const before = tries.length
        const again = createServer((socket) => void tries.push(socket.destroy())).listen(port, "127.0.0.1")
        yield* eventually(Effect.sync(() => tries.length > before + 2))
        again.close()
        yield* ponging(port)
        yield* eventually(Effect.sync(() => lines.length > 3))
      }).pipe(Effect.provide(Logger.layer([logger])))
      assert.deepStrictEqual(lines, [
        "Redis can not be reached; the start goes on without it, and it is tried again",
        "Redis is back",
        "Redis is lost, and tried again until it is back",
        "Redis is back"
      ])
    }))
})
