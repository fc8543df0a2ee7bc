/**
 * An `etcd` of the tests' own: on free ports of the loopback interface, with a folder of its own, stopped with its scope.
 */
import { Context, Effect, Layer, Schedule } from "effect"
import * as Fs from "node:fs"
import { tmpdir } from "node:os"
import * as Path from "node:path"
import { freePort } from "./freePort.ts"
import { describeWith } from "./program.ts"
import * as ServerProcess from "./serverProcess.ts"

/** Describes tests that need {@link layer}. */
export const describeEtcd = describeWith("etcd", "sudo apt-get install etcd-server")

export class EtcdServer extends Context.Service<EtcdServer, {
  readonly url: string
}>()("@ballast/test/EtcdServer") {}

const start = (folder: string, url: string, peer: string) => {
  const options = {
    "data-dir": folder,
    "listen-client-urls": url,
    "advertise-client-urls": url,
    "listen-peer-urls": peer,
    "initial-advertise-peer-urls": peer,
    "initial-cluster": `default=${peer}`
  }
  const args = Object.entries(options).map(([name, value]) => `--${name}=${value}`)
  return ServerProcess.start("etcd", args, "serving insecure client requests")
}

/** Another process may take a port between its choice and its use, so the start is tried on several. */
const make = Effect.gen(function*() {
  const folder = yield* Effect.acquireRelease(
    Effect.sync(() => Fs.mkdtempSync(Path.join(tmpdir(), "etcd-"))),
    (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true, force: true }))
  )
  const [url, peer] = [yield* Effect.promise(freePort), yield* Effect.promise(freePort)].map((port) =>
    `http://127.0.0.1:${port}`
  )
  yield* Effect.acquireRelease(start(Path.join(folder, "data"), `${url}`, `${peer}`), ServerProcess.stop)
  return EtcdServer.of({ url: `${url}` })
}).pipe(Effect.retry(Schedule.recurs(4)))

export const layer: Layer.Layer<EtcdServer, ServerProcess.StartFailed> = Layer.effect(EtcdServer, make)
