/**
 * Asks a question, whose trace goes to Zipkin. The simulator answers.
 *
 *     OTEL_EXPORTER_ZIPKIN_ENDPOINT=http://127.0.0.1:9411/api/v2/spans npm start --workspace @ballast/example-zipkin-sdk
 */
import { NodeRuntime } from "@effect/platform-node"
import { Config, Console, Effect } from "effect"
import { ask } from "./ask.ts"
import * as Tracing from "./Tracing.ts"

const program = Effect.gen(function*() {
  const url = yield* Config.withDefault(
    Config.String("OTEL_EXPORTER_ZIPKIN_ENDPOINT"),
    "http://127.0.0.1:9411/api/v2/spans"
  )
  // A Zipkin that is down fails the end of the layer, so the answer is shown before.
  yield* ask("Why does a ship carry ballast?").pipe(Effect.flatMap(Console.log), Effect.provide(Tracing.layer(url)))
})

NodeRuntime.runMain(program)
