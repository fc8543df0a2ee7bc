/**
 * An `etcd` of the tests' own: on free ports of the loopback interface, with a folder of its own, stopped with its scope.
 */
import { Context, Data, Effect, Layer, Schedule } from "effect"
import { type ChildProcess, spawn } from "node:child_process"
import * as Fs from "node:fs"
import { tmpdir } from "node:os"
import * as Path from "node:path"
import { freePort } from "./freePort.ts"
import { describeWith } from "./program.ts"

/** Describes tests that need {@link layer}. */
export const describeEtcd = describeWith("etcd", "sudo apt-get install etcd-server")

export class EtcdServer extends Context.Service<EtcdServer, {
  readonly url: string
}>()("@ballast/test/EtcdServer") {}

class StartFailed extends Data.TaggedError("StartFailed")<{ readonly output: string }> {
  override get message() {
    return `etcd did not start: ${this.output}`
  }
}

const start = (folder: string, url: string, peer: string) =>
  Effect.callback<ChildProcess, StartFailed>((resume) => {
    const options = {
      "data-dir": folder,
      "listen-client-urls": url,
      "advertise-client-urls": url,
      "listen-peer-urls": peer,
      "initial-advertise-peer-urls": peer,
      "initial-cluster": `default=${peer}`
    }
    const server = spawn("etcd", Object.entries(options).map(([name, value]) => `--${name}=${value}`), {
      stdio: ["ignore", "ignore", "pipe"]
    })
    process.once("exit", () => server.kill("SIGKILL"))
    let output = ""
    server.stderr.setEncoding("utf8").on("data", (text: string) => {
      output += text
      if (output.includes("serving insecure client requests")) resume(Effect.succeed(server))
    })
    server.once("error", (error) => resume(Effect.fail(new StartFailed({ output: error.message }))))
    server.once("exit", () => resume(Effect.fail(new StartFailed({ output }))))
    return Effect.sync(() => server.kill())
  })

const stop = (server: ChildProcess) =>
  Effect.callback<void>((resume) => {
    if (server.exitCode !== null || server.signalCode !== null) return resume(Effect.void)
    server.once("exit", () => resume(Effect.void))
    server.kill("SIGKILL")
  })

/** Another process may take a port between its choice and its use, so the start is tried on several. */
const make = Effect.gen(function*() {
  const folder = yield* Effect.acquireRelease(
    Effect.sync(() => Fs.mkdtempSync(Path.join(tmpdir(), "etcd-"))),
    (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true, force: true }))
  )
  const [url, peer] = [yield* Effect.promise(freePort), yield* Effect.promise(freePort)].map((port) =>
    `http://127.0.0.1:${port}`
  )
  yield* Effect.acquireRelease(start(Path.join(folder, "data"), `${url}`, `${peer}`), stop)
  return EtcdServer.of({ url: `${url}` })
}).pipe(Effect.retry(Schedule.recurs(4)))

export const layer: Layer.Layer<EtcdServer, StartFailed> = Layer.effect(EtcdServer, make)
