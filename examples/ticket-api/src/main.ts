/**
 * Serves the API on http://127.0.0.1:3000 (PORT). Without DEEPSEEK_API_KEY the simulator answers.
 *
 *     npm start --workspace @ballast/example-ticket-api
 *     curl -s 127.0.0.1:3000/tickets -H 'content-type: application/json' -d '{"text":"I was charged twice!"}'
 */
import { DeepSeek, Undici } from "@ballast/deepseek"
import { Simulator } from "@ballast/simulator"
import { NodeHttpServer, NodeRuntime } from "@effect/platform-node"
import { Config, Effect, Layer, Option, Redacted } from "effect"
import { HttpRouter } from "effect/http"
import { createServer } from "node:http"
import * as Api from "./Api.ts"
import { Triage } from "./Triage.ts"

const Model = Layer.unwrap(Effect.gen(function*() {
  const key = yield* Config.option(Config.Redacted("DEEPSEEK_API_KEY"))
  return Option.isSome(key)
    ? DeepSeek.layerConfig().pipe(Layer.provide(Undici.layer()))
    : DeepSeek.layer({ apiKey: Redacted.make("sk-simulated") }).pipe(Layer.provide(Simulator.layerHttpClient()))
}))

HttpRouter.serve(Api.layer).pipe(
  Layer.provide(Triage.layer.pipe(Layer.provide(Model))),
  Layer.provide(NodeHttpServer.layerConfig(createServer, {
    host: Config.String("HOST").pipe(Config.withDefault("127.0.0.1")),
    port: Config.Port("PORT").pipe(Config.withDefault(3000))
  })),
  Layer.launch,
  NodeRuntime.runMain
)
