/**
 * Settings from environment variables. Every single setting of the schema has a variable: `retry.maxTimes` under the prefix
 * `BALLAST` is `BALLAST_RETRY_MAX_TIMES`. The text is read as the schema wants it; lists and maps are JSON. The variables
 * come from the current `ConfigProvider`.
 */
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import type { Entry, Source } from "./Source.ts"

const constantCase = (name: string) =>
  name.replaceAll(/([a-z0-9])([A-Z])/g, "$1_$2").replaceAll(/[^A-Za-z0-9]/g, "_").toUpperCase()

/**
 * Options of the environment.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** What the names of variables begin with, without the underscore. Default: none, only `names` are read. */
  readonly prefix?: string | undefined
  /** Further variables by name, with the path of the setting: `{ PORT: "listen.port" }`. They win over those with the prefix. */
  readonly names?: { readonly [variable: string]: string } | undefined
}

/**
 * Settings from environment variables. An empty variable counts as not set.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options): Source => ({
  name: "environment",
  remote: false,
  open: (fields) =>
    Effect.gen(function*() {
      const provider = yield* ConfigProvider.ConfigProvider
      const { names = {}, prefix } = options
      const variables = [
        ...(prefix === undefined ? [] : fields).map(({ path }) =>
          [[`${prefix}`, ...path].map(constantCase).join("_"), path] as const
        ),
        ...Object.entries(names).map(([variable, path]) => [variable, path.split(".")] as const)
      ]
      const entry = ([variable, path]: readonly [string, ReadonlyArray<string>]) =>
        Effect.map(Effect.orElseSucceed(provider.load([variable]), () => undefined), (node): ReadonlyArray<Entry> =>
          node?.value === undefined || node.value === ""
            ? []
            : [{ path, value: node.value, name: `environment variable ${variable}`, text: true }])
      return {
        read: Effect.map(
          Effect.forEach(variables, entry),
          (entries) => [{ _tag: "Entries" as const, entries: entries.flat() }]
        ),
        changed: Effect.never
      }
    })
})
