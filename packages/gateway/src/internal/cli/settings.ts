import * as Settings from "@ballast/settings/Settings"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import { defaultFile, GatewaySettings, make } from "../../Settings.ts"
import { StartError } from "../../StartError.ts"
import { whyNot } from "../whyNot.ts"
import { print } from "./print.ts"
import * as sources from "./sources.ts"

/** What `ballast init` writes above the settings. */
const head =
  `# Settings of ballast serve. They may change while it runs: it follows this file, and refuses what is wrong as a whole.
# A setting that begins with "# " has the default that is shown. \${env:NAME} and \${file:PATH} may stand for any value.
# "ballast check" says what is in force; "ballast schema" gives the schema by which editors complete and explain.
#
# Two providers, and where calls of a model go:
#
#   providers:
#     deepseek: { type: deepseek, accounts: { main: { keys: [ "\${env:DEEPSEEK_API_KEY}" ] } } }
#     local: { type: vllm, baseUrl: "http://127.0.0.1:8000/v1" }
#   models:
#     deepseek-flash: { targets: [ { provider: deepseek } ], failover: [ { provider: local, model: my-model } ] }
#     "*": { targets: [ { provider: deepseek } ] }

`

/** The commented settings file. */
export const text = (): string => head + Settings.template(GatewaySettings)

/** Writes a settings file, unless there is one. */
export const init = Effect.fnUntraced(function*({ config = defaultFile }: Pick<sources.Options, "config">) {
  const files = yield* FileSystem.FileSystem
  yield* files.writeFileString(config, text(), { flag: "wx" }).pipe(
    Effect.mapError((error) =>
      new StartError({
        detail: error.reason._tag === "AlreadyExists"
          ? `${config} exists already, and is left as it is. Choose another with --config.`
          : `${config} can not be written: ${whyNot(error)}.`
      })
    )
  )
  yield* print(
    `Wrote ${config}. Start the gateway with: ballast serve${config === defaultFile ? "" : ` --config ${config}`}\n`
  )
})

/** Says what is in force, or fails with what is wrong. */
export const check = Effect.fnUntraced(function*(options: sources.Options) {
  const settings = yield* make(yield* sources.of(options))
  const { sources: read } = yield* settings.status
  const files = yield* FileSystem.FileSystem
  const isThere = options.config !== undefined || (yield* Effect.orElseSucceed(files.exists(defaultFile), () => false))
  const names = read.map(({ name }) => name).filter((name) => name !== "flags").map((name) =>
    name === defaultFile && !isThere ? `defaults (there is no ${defaultFile} here)` : name
  )
  yield* print(`# In force, from ${names.join(", ")}:\n${Settings.print(yield* settings.current)}`)
}, Effect.scoped)

/** The JSON Schema of the settings file. */
export const schema = Effect.suspend(() => print(`${JSON.stringify(Settings.jsonSchema(GatewaySettings), null, 2)}\n`))
