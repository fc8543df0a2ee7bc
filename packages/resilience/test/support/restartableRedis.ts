/** A `redis-server` that a test kills and starts again on the same port; what it held is lost. */
import { Data, Effect } from "effect"
import { type ChildProcess, spawn } from "node:child_process"
import { freePort } from "../../../../test/support/freePort.ts"

class StartFailed extends Data.TaggedError("StartFailed")<{ readonly port: number }> {}

const start = (port: number) =>
  Effect.callback<ChildProcess, StartFailed>((resume) => {
    const options = ["--port", `${port}`, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", "/tmp"]
    const server = spawn("redis-server", options, { stdio: ["ignore", "pipe", "inherit"] })
    process.once("exit", () => server.kill("SIGKILL"))
    server.stdout.setEncoding("utf8").on("data", (text: string) => {
      if (text.includes("Ready to accept connections")) resume(Effect.succeed(server))
    })
    server.once("exit", () => resume(Effect.fail(new StartFailed({ port }))))
  })

const kill = (server: ChildProcess) =>
  Effect.callback<void>((resume) => {
    if (server.exitCode !== null || server.signalCode !== null) return resume(Effect.void)
    server.once("exit", () => resume(Effect.void))
    server.kill("SIGKILL")
  })

export const make = Effect.gen(function*() {
  const port = yield* Effect.promise(freePort)
  let server = yield* start(port)
  yield* Effect.addFinalizer(() => Effect.suspend(() => kill(server)))
  return {
    url: `redis://127.0.0.1:${port}`,
    kill: Effect.suspend(() => kill(server)),
    restart: Effect.map(start(port), (started) => {
      server = started
    })
  }
})
