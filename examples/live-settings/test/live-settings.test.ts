import { FileSource } from "@ballast/settings"
import { NodeFileSystem } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, FileSystem } from "effect"
import { fileURLToPath } from "node:url"
import { make } from "../src/App.ts"

describe("live-settings", () => {
  it.effect("follows its settings: flag, limit and database", () =>
    Effect.gen(function*() {
      const files = yield* FileSystem.FileSystem
      const folder = yield* files.makeTempDirectoryScoped()
      const path = `${folder}/app.yaml`
      yield* files.copyFile(fileURLToPath(new URL("../app.yaml", import.meta.url)), path)
      const app = yield* make([FileSource.make(path)])
      const change = (text: string) => Effect.andThen(files.writeFileString(path, text), app.settings.refresh)

      assert.strictEqual(yield* app.greet("Ada"), "Hello Ada, for the 1. time")
      yield* change("features: { shout: true }")
      assert.strictEqual(yield* app.greet("Ada"), "HELLO ADA, FOR THE 2. TIME")

      yield* change(`database: { url: "${folder}/app.db" }`)
      assert.strictEqual(yield* app.greet("Ada"), "Hello Ada, for the 1. time")

      const wrong = yield* Effect.flip(change(`rate: { limit: 2 }\ndatabase: { url: "${folder}/absent/app.db" }`))
      assert.include(wrong.message, `the database ${folder}/absent/app.db cannot be opened`)
      assert.strictEqual((yield* app.settings.current).rate.limit, 5)

      yield* change("rate: { limit: 4, window: 1h }")
      assert.strictEqual(yield* app.greet("Ada"), "Hello Ada, for the 1. time")
      const rejected = yield* Effect.flip(app.greet("Ada"))
      assert.strictEqual(rejected._tag, "RateLimitExceeded")
    }).pipe(Effect.provide(NodeFileSystem.layer)))
})
