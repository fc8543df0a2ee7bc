/** A server program of the tests' own, stopped with their process at the latest. */
import { Data, Effect } from "effect"
import { type ChildProcess, spawn } from "node:child_process"

export class StartFailed extends Data.TaggedError("StartFailed")<{
  readonly program: string
  readonly output: string
}> {
  override get message() {
    return `${this.program} did not start: ${this.output}`
  }
}

/** Starts the program; it is ready once its output has the text. */
export const start = (program: string, args: ReadonlyArray<string>, ready: string) =>
  Effect.callback<ChildProcess, StartFailed>((resume) => {
    const server = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"] })
    process.once("exit", () => server.kill("SIGKILL"))
    let output = ""
    for (const stream of [server.stdout, server.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => {
        output += text
        if (output.includes(ready)) resume(Effect.succeed(server))
      })
    }
    const failed = (output: string) => resume(Effect.fail(new StartFailed({ program, output })))
    server.once("error", ({ message }) => failed(message))
    server.once("exit", () => failed(output))
    return Effect.sync(() => server.kill())
  })

/** Starts a Redis without persistence. */
export const startRedis = (port: number) =>
  start(
    "redis-server",
    ["--port", `${port}`, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", "/tmp"],
    "Ready to accept connections"
  )

/** Kills the server and waits for its end. */
export const stop = (server: ChildProcess) =>
  Effect.callback<void>((resume) => {
    if (server.exitCode !== null || server.signalCode !== null) return resume(Effect.void)
    server.once("exit", () => resume(Effect.void))
    server.kill("SIGKILL")
  })
