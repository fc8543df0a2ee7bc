/** Sends the frames of a day through the workflow, whose models a gateway serves. */
import { Gateway, Settings, Upstream } from "@ballast/gateway"
import { Models } from "@ballast/inference"
import { Definition, Engine, Runner } from "@ballast/workflow"
import { Effect, FileSystem, Layer, Schema } from "effect"
import { FetchHttpClient, HttpClient } from "effect/http"
import { fileURLToPath } from "node:url"
import { districts, type Frame } from "./city.ts"
import { hoursOf, past, write } from "./models.ts"
import * as Warnings from "./warnings.ts"

const key = "key-of-the-city"

/** The gateway in front of the models, on a free port of loopback. */
const gateway = Effect.gen(function*() {
  const files = yield* FileSystem.FileSystem
  const folder = yield* files.makeTempDirectoryScoped({ prefix: "city-warning-" })
  write(folder)
  const localModels = yield* Models.make({ folder })
  const settings = yield* Settings.makeValues({
    listen: { port: 0 },
    clients: { city: { keys: [key] } },
    providers: { simulator: { type: "simulator", accounts: { default: { keys: ["sk-none"] } } } }
  })
  const upstream = yield* Upstream.make(settings)
  const address = yield* Gateway.serve({ settings, upstream, localModels })
  return address._tag === "UnixPathAddress" ? address.path : `http://127.0.0.1:${address.port}`
})

export interface Options {
  readonly frames: ReadonlyArray<Frame>
  readonly onWarning: (warning: Warnings.Warning) => Effect.Effect<void>
  /** Is told of each frame that went through, with the load of each district in the last frame that the model foretells. */
  readonly onFrame: (frame: Frame, loads: ReadonlyArray<number>) => Effect.Effect<void>
}

/** What the workflow gives: the load of each district in each of the coming frames. */
const Loads = Schema.Array(Schema.Finite)

/** Watches the frames, one after the other. The first ones are history alone. */
export const watch = Effect.fn("watch")(
  function*({ frames, onFrame, onWarning }: Options) {
    const files = yield* FileSystem.FileSystem
    const path = fileURLToPath(new URL("../city_warning.yaml", import.meta.url))
    const services = { publish: Warnings.make(onWarning) }
    const definition = yield* Definition.read({ name: path, text: yield* files.readFileString(path), services })
    const env = { GATEWAY: yield* gateway, GATEWAY_KEY: key }
    const http = yield* HttpClient.HttpClient
    const runner = Runner.layer({ services, http, env }).pipe(Layer.provide(Engine.layerMemory))
    yield* Effect.gen(function*() {
      const { run } = yield* Runner.Runner
      for (const [index, frame] of frames.entries()) {
        if (index < past - 1) continue
        const history = frames.slice(index - past + 1, index + 1).flatMap(({ counts }) => counts)
        const output = yield* run(definition, { ...frame, history, hours: hoursOf(frame.at) }, { id: `frame-${index}` })
        const loads = yield* Schema.decodeUnknownEffect(Loads)(output)
        yield* onFrame(frame, loads.slice(-districts.length))
      }
    }).pipe(Effect.provide(runner))
  },
  Effect.scoped,
  Effect.provide(FetchHttpClient.layer)
)
