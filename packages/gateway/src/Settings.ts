/**
 * Every setting of the gateway, as one schema: messages, the table in the docs, the file that `ballast init` writes and the JSON
 * Schema are made from it.
 *
 * Sources, later over earlier: defaults, `ballast.yaml`, the profile's file, a config center, environment variables, flags. What changes in the files
 * while the gateway runs is put in force as a whole or refused as a whole.
 *
 * @since 0.1.0
 */
import * as FileSource from "@ballast/settings/FileSource"
import * as Settings from "@ballast/settings/Settings"
import type { SettingsRefused } from "@ballast/settings/SettingsRefused"
import * as ValuesSource from "@ballast/settings/ValuesSource"
import type * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Center from "./Center.ts"
import * as Environment from "./Environment.ts"
import { contradictions } from "./internal/settings/contradictions.ts"
import { All } from "./internal/settings/sections.ts"
import type * as TelemetrySettings from "./TelemetrySettings.ts"

export {
  database,
  filesPlace,
  others,
  placesOf,
  policies,
  routing,
  takesFaults,
  targetsOf
} from "./internal/settings/inForce.ts"

/**
 * @category models
 * @since 0.1.0
 */
export type GatewaySettings = typeof All.Type

/**
 * All settings of `ballast serve`.
 *
 * @category schemas
 * @since 0.1.0
 */
export const GatewaySettings = All.check(Schema.makeFilter((settings) => contradictions(settings)))

/**
 * Where settings are looked for.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** The settings file. Default: `ballast.yaml`, if it is there. */
  readonly file?: string | undefined
  /** The profile, whose file lies over it: `ballast.prod.yaml` for `prod`. Default: none. */
  readonly profile?: string | undefined
  /** Settings that win over all others, in the form of the file. */
  readonly flags?: object | undefined
}

/**
 * The settings file that is read where none is named.
 *
 * @category defaults
 * @since 0.1.0
 */
export const defaultFile = "ballast.yaml"

/** Parts that are read of the files by themselves: the rest may be right only with what a center holds. */
const rest = [Schema.Record(Schema.String, Schema.Unknown)] as const
const CenterAlone = Schema.StructWithRest(Schema.Struct({ center: All.fields.center }), rest)
const TelemetryAlone = Schema.StructWithRest(Schema.Struct({ telemetry: All.fields.telemetry }), rest)

const filesOf = ({ file, profile }: Options) => {
  const path = file ?? defaultFile
  return [
    FileSource.make(path, { optional: file === undefined }),
    ...(profile === undefined ? [] : [FileSource.profile(path, profile, { optional: false })])
  ]
}

/**
 * Where telemetry is sent, as the files say; undefined when something in them is wrong, which `make` tells.
 *
 * @category accessors
 * @since 0.1.0
 */
export const telemetry = (
  options: Options = {}
): Effect.Effect<TelemetrySettings.Telemetry | undefined, never, FileSystem.FileSystem> =>
  Settings.make(TelemetryAlone, filesOf(options)).pipe(
    Effect.flatMap(({ current }) => current),
    Effect.scoped,
    Effect.match({ onFailure: () => undefined, onSuccess: ({ telemetry }) => telemetry })
  )

/**
 * The settings from their sources, which they follow as long as the scope lives.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  options: Options = {}
): Effect.fn.Return<
  Settings.Settings<GatewaySettings>,
  SettingsRefused | Config.ConfigError,
  FileSystem.FileSystem | Scope.Scope
> {
  const { center } = yield* Effect.scoped(
    Effect.flatMap(Settings.make(CenterAlone, filesOf(options)), ({ current }) => current)
  )
  return yield* Settings.make<GatewaySettings, FileSystem.FileSystem>(GatewaySettings, [
    ...filesOf(options),
    ...yield* Center.sources(center),
    yield* Environment.source,
    ValuesSource.make(options.flags ?? {})
  ], { copies: center?.copies })
})

/**
 * Settings that stay as they are, in the form of the file, for programs that bring their own and for tests.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeValues = (
  values: object
): Effect.Effect<Settings.Settings<GatewaySettings>, SettingsRefused, FileSystem.FileSystem | Scope.Scope> =>
  Settings.make<GatewaySettings>(GatewaySettings, [ValuesSource.make(values, "settings")])
