/** Services in this process, and gateways in front of them that follow a file. */
import { Gateway, Settings, Upstream } from "@ballast/gateway"
import { Registry } from "@ballast/resilience"
import { Logs } from "@ballast/telemetry"
import { NodeFileSystem } from "@effect/platform-node"
import { Effect, Fiber, FileSystem, Layer } from "effect"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import type { Answer } from "../harness.ts"

export interface Seen {
  readonly key: string
  readonly model: string
}

/** A service that answers with the key and the model that it sees, or with a status. */
export const service = Effect.fnUntraced(function*(
  answer: (seen: Seen) => number | readonly [status: number, message: string],
  ended?: (seen: Seen) => void
) {
  const server = createServer((request, response) => {
    let body = ""
    request.setEncoding("utf8").on("data", (text: string) => body += text).on("end", () => {
      const key = request.headers.authorization!.replace("Bearer ", "")
      const { model } = JSON.parse(body)
      const answered = answer({ key, model })
      const [status, message] = typeof answered === "number" ? [answered, "no"] : answered
      const content = status === 200
        ? {
          id: "x",
          object: "chat.completion",
          created: 1,
          model,
          choices: [{
            index: 0,
            finish_reason: "stop",
            message: { role: "assistant", content: key }
          }]
        }
        : { error: { message, type: "test" } }
      // A later turn of the event loop, so that calls overlap with changes.
      setTimeout(() => {
        ended?.({ key, model })
        response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(content))
      }, Math.random() * 20)
    })
  })
  yield* Effect.acquireRelease(
    Effect.callback<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
    () => Effect.sync(() => server.close().closeAllConnections())
  )
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})

/** A gateway that follows a file, on a free port of loopback. */
export const gateway = Effect.fnUntraced(function*(yaml: string) {
  const files = yield* FileSystem.FileSystem
  const folder = yield* Effect.orDie(files.makeTempDirectoryScoped())
  const write = (name: string, text: string) =>
    // As editors and Kubernetes do it: a reader never sees half of it.
    Effect.orDie(Effect.andThen(
      files.writeFileString(`${folder}/${name}.new`, text),
      files.rename(`${folder}/${name}.new`, `${folder}/${name}`)
    ))
  return {
    write,
    serve: Effect.gen(function*() {
      yield* write("ballast.yaml", yaml)
      const settings = yield* Settings.make({ file: `${folder}/ballast.yaml` })
      const upstream = yield* Upstream.make(settings)
      const address = yield* Gateway.serve({ settings, upstream })
      return { settings, upstream, port: address._tag === "UnixPathAddress" ? 0 : address.port }
    })
  }
})

export const provided = Effect.provide(
  Layer.mergeAll(NodeFileSystem.layer, Registry.layer, Logs.layer({ level: "None" }))
)

/** Calls one after the other by so many at once, until it is told to stop; gives all answers. */
export const load = (width: number, call: Effect.Effect<Answer>) => {
  let stopped = false
  const answers: Array<Answer> = []
  const one: Effect.Effect<void> = Effect.flatMap(call, (answer) => {
    answers.push(answer)
    return stopped ? Effect.void : one
  })
  return Effect.map(
    Effect.forkChild(Effect.all(Array.from({ length: width }, () => one), { concurrency: "unbounded", discard: true })),
    (fiber) => ({
      answers,
      stop: Effect.andThen(Effect.sync(() => stopped = true), Fiber.join(fiber))
    })
  )
}
