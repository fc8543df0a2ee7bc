/**
 * A `redis-server` of the tests' own: on a free port of the loopback interface, without persistence, stopped with its scope.
 */
import { Context, Data, Effect, Layer, Schedule } from "effect"
import { type ChildProcess, spawn } from "node:child_process"
import { freePort } from "./freePort.ts"
import { describeWith } from "./program.ts"

/** Describes tests that need {@link layer}. */
export const describeRedis = describeWith("redis-server", "sudo apt-get install redis-server")

export class RedisServer extends Context.Service<RedisServer, {
  readonly port: number
  readonly url: string
}>()("@ballast/test/RedisServer") {}

class StartFailed extends Data.TaggedError("StartFailed")<{ readonly output: string }> {
  override get message() {
    return `redis-server did not start: ${this.output}`
  }
}

const start = (port: number) =>
  Effect.callback<ChildProcess, StartFailed>((resume) => {
    const options = ["--port", `${port}`, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", "/tmp"]
    const server = spawn("redis-server", options, { stdio: ["ignore", "pipe", "inherit"] })
    process.once("exit", () => server.kill("SIGKILL"))
    let output = ""
    server.stdout.setEncoding("utf8").on("data", (text: string) => {
      output += text
      if (output.includes("Ready to accept connections")) resume(Effect.succeed(server))
    })
    server.once("error", (error) => resume(Effect.fail(new StartFailed({ output: error.message }))))
    server.once("exit", () => resume(Effect.fail(new StartFailed({ output }))))
    return Effect.sync(() => server.kill())
  })

const stop = (server: ChildProcess) =>
  Effect.callback<void>((resume) => {
    if (server.exitCode !== null || server.signalCode !== null) return resume(Effect.void)
    server.once("exit", () => resume(Effect.void))
    server.kill()
  })

/** Another process may take the port between its choice and its use, so the start is tried on several. */
const make = Effect.gen(function*() {
  const port = yield* Effect.promise(freePort)
  yield* Effect.acquireRelease(start(port), stop)
  return RedisServer.of({ port, url: `redis://127.0.0.1:${port}` })
}).pipe(Effect.retry(Schedule.recurs(4)))

export const layer: Layer.Layer<RedisServer, StartFailed> = Layer.effect(RedisServer, make)
