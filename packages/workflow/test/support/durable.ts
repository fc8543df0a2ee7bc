/**
 * A process that runs a workflow over a SQLite file: `node durable.ts FOLDER [approve]`. Each call is a line of `calls`, each effect a file that is
 * made once by its key. The step `gated` does not end before there is a file `gate`.
 */
import { SqliteClient } from "@ballast/sqlite"
import { Definition, Engine, Runner, type Service } from "@ballast/workflow"
import { NodeCrypto } from "@effect/platform-node"
import { Effect, Layer } from "effect"
import { appendFileSync, existsSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"

const [folder = "", approve] = process.argv.slice(2)
const at = (name: string) => join(folder, name)

const once = (key: string) => {
  const path = at(`effect-${key.replaceAll("/", "-")}`)
  if (!existsSync(path)) writeFileSync(path, "", { flag: "wx" })
}

const count: Service.Service = {
  call: (input, { idempotencyKey, stepId }) =>
    Effect.sync(() => {
      appendFileSync(at("calls"), `${stepId}\n`)
      once(idempotencyKey)
      return Number(input) + 1
    })
}

const gated: Service.Service = {
  call: (input, context) =>
    Effect.gen(function*() {
      const output = yield* count.call(input, context)
      yield* Effect.sync(() => process.stdout.write("in flight\n"))
      yield* Effect.promise(async () => {
        while (!existsSync(at("gate"))) await new Promise((resolve) => setTimeout(resolve, 20))
      })
      return output
    })
}

const services = { count, gated }

const engine = Engine.layerSql().pipe(
  Layer.provide([SqliteClient.layer({ filename: at("runs.db") }), NodeCrypto.layer])
)

const layer = Runner.layer({
  services,
  onEvent: ({ _tag }) => Effect.sync(() => void (_tag === "Waiting" && process.stdout.write("waiting\n")))
}).pipe(Layer.provide(engine))

const program = Effect.gen(function*() {
  const definition = yield* Definition.read({ name: "w", text: readFileSync(at("flow.yaml"), "utf8"), services })
  const runner = yield* Runner.Runner
  if (approve !== undefined) yield* runner.approve("r", "ask", { approved: true, by: approve })
  const result = yield* runner.run(definition, 0, { id: "r" })
  process.stdout.write(`${JSON.stringify(result)}\n`)
})

await Effect.runPromise(Effect.provide(program, layer))
