import { Field } from "@ballast/settings"
import { NodeFileSystem } from "@effect/platform-node"
import { Effect, FileSystem, Schema } from "effect"
import { TestClock } from "effect/testing"
import * as Path from "node:path"

/** The settings of a small service. */
export const App = Schema.Struct({
  listen: Field.section({
    host: Schema.NonEmptyString.pipe(Field.withDefault("127.0.0.1")).annotate({ description: "Address to listen on." }),
    port: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 65_535 })).pipe(Field.withDefault(8787))
  }),
  retry: Field.section({
    times: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 10 })).pipe(Field.withDefault(3))
      .annotate({ description: "Attempts after the first.", unit: "attempts" }),
    wait: Field.duration({ minimum: "10ms", maximum: "1m" }).pipe(Field.withDefault("200ms"))
  }),
  body: Field.byteSize({ maximum: "64MiB" }).pipe(Field.withDefault("16MiB")),
  format: Schema.Literals(["json", "pretty"]).pipe(Field.withDefault("json")),
  models: Schema.Array(Schema.String).pipe(Field.withDefault(["deepseek-flash"])),
  limits: Schema.Record(Schema.String, Schema.Struct({ rate: Schema.Finite.check(Schema.isGreaterThan(0)) })).pipe(
    Field.withDefault({})
  ),
  key: Schema.optionalKey(Field.secret)
}).check(Schema.makeFilter(({ retry }) =>
  retry.times === 0 && "wait" in retry && String(retry.wait) === "60000 millis"
    ? { path: ["retry", "wait"], issue: "a wait of 1m needs retry.times above 0" }
    : undefined
))

/** A new folder with files, removed with the scope. */
export const folderWith = Effect.fnUntraced(function*(texts: Record<string, string>) {
  const files = yield* FileSystem.FileSystem
  const folder = yield* files.makeTempDirectoryScoped()
  const at = (name: string) => Path.join(folder, name)
  yield* Effect.forEach(Object.entries(texts), ([name, text]) => files.writeFileString(at(name), text))
  return { at, folder, files, write: (name: string, text: string) => files.writeFileString(at(name), text) }
})

/** Lets virtual time pass, and the machine work, until a condition holds. */
export const until = <E, R>(condition: Effect.Effect<boolean, E, R>) =>
  Effect.gen(function*() {
    for (let i = 0; i < 2000; i++) {
      if (yield* condition) return
      yield* TestClock.adjust("100 millis")
      yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
    }
    return yield* Effect.die("the condition did not come true")
  })

export const files = NodeFileSystem.layer
