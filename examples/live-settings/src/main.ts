/**
 * Greets once a second. Change `app.yaml` meanwhile: turn on `shout`, lower `limit`, name another database, or make a mistake.
 *
 *     npm start --workspace @ballast/example-live-settings
 */
import { EnvironmentSource, FileSource } from "@ballast/settings"
import { NodeFileSystem, NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Schedule } from "effect"
import { fileURLToPath } from "node:url"
import { make } from "./App.ts"

const program = Effect.gen(function*() {
  const app = yield* make([
    FileSource.make(fileURLToPath(new URL("../app.yaml", import.meta.url))),
    EnvironmentSource.make({ prefix: "APP" })
  ])
  yield* app.greet("world").pipe(
    Effect.flatMap(Console.log),
    Effect.catch((error) => Console.error(error.message)),
    Effect.repeat(Schedule.spaced("1 second"))
  )
})

program.pipe(Effect.scoped, Effect.provide(NodeFileSystem.layer), NodeRuntime.runMain)
