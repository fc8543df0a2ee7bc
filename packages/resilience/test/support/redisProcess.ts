import { Effect, type Scope } from "effect"
import { type ChildProcess, spawn } from "node:child_process"
import { freePort } from "../../../../test/support/freePort.ts"

const start = (port: number) =>
  Effect.callback<ChildProcess>((resume) => {
    const server = spawn("redis-server", ["--port", `${port}`, "--bind", "127.0.0.1", "--save", "", "--dir", "/tmp"], {
      stdio: ["ignore", "pipe", "inherit"]
    })
    process.once("exit", () => server.kill("SIGKILL"))
    let output = ""
    server.stdout.setEncoding("utf8").on("data", (text: string) => {
      output += text
      if (output.includes("Ready to accept connections")) resume(Effect.succeed(server))
    })
    server.once("exit", () => resume(Effect.die(new Error(output))))
  })

const kill = (server: ChildProcess) =>
  Effect.callback<void>((resume) => {
    if (server.exitCode !== null || server.signalCode !== null) return resume(Effect.void)
    server.once("exit", () => resume(Effect.void))
    server.kill("SIGKILL")
  })

/** A server on one port that can be killed and started anew, with nothing of what it knew. */
export const make: Effect.Effect<
  { readonly url: string; readonly kill: Effect.Effect<void>; readonly restart: Effect.Effect<void> },
  never,
  Scope.Scope
> = Effect.gen(function*() {
  const port = yield* Effect.promise(freePort)
  let server = yield* start(port)
  yield* Effect.addFinalizer(() => kill(server))
  return {
    url: `redis://127.0.0.1:${port}`,
    kill: Effect.suspend(() => kill(server)),
    restart: Effect.map(start(port), (started) => {
      server = started
    })
  }
})
