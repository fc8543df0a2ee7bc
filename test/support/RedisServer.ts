/**
 * A `redis-server` of the tests' own: on a free port of the loopback interface, without persistence, stopped with its scope.
 */
import { Context, Effect, Layer, Schedule } from "effect"
import { freePort } from "./freePort.ts"
import { describeWith } from "./program.ts"
import { type StartFailed, startRedis, stop } from "./serverProcess.ts"

/** Describes tests that need {@link layer}. */
export const describeRedis = describeWith("redis-server", "sudo apt-get install redis-server")

export class RedisServer extends Context.Service<RedisServer, {
  readonly port: number
  readonly url: string
}>()("@ballast/test/RedisServer") {}

/** Another process may take the port between its choice and its use, so the start is tried on several. */
const make = Effect.gen(function*() {
  const port = yield* Effect.promise(freePort)
  yield* Effect.acquireRelease(startRedis(port), stop)
  return RedisServer.of({ port, url: `redis://127.0.0.1:${port}` })
}).pipe(Effect.retry(Schedule.recurs(4)))

export const layer: Layer.Layer<RedisServer, StartFailed> = Layer.effect(RedisServer, make)
