/** Where the settings of a command come from. */
import * as Logs from "@ballast/telemetry/Logs"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import type * as LogLevel from "effect/LogLevel"
import type { GatewaySettings, Options as Sources } from "../../Settings.ts"

export interface Options {
  readonly config: string | undefined
  readonly profile: string | undefined
}

const profileVariable = Config.withDefault(
  Config.map(Config.String("BALLAST_PROFILE"), (name): string | undefined => name.trim() || undefined),
  undefined
)

export const of = ({ config, profile }: Options): Effect.Effect<Sources, Config.ConfigError> =>
  Effect.map(profileVariable, (fromEnv) => ({ file: config, profile: profile ?? fromEnv }))

/** How lines look until the settings are read. */
export const logs = Config.all({
  level: Logs.level,
  format: Config.map(Logs.format, (format) => format ?? Logs.terminalFormat()),
  colors: Logs.colors
})

const levels: { readonly [Name in GatewaySettings["log"]["level"]]: LogLevel.LogLevel } = {
  trace: "Trace",
  debug: "Debug",
  info: "Info",
  warn: "Warn",
  error: "Error",
  fatal: "Fatal",
  none: "None"
}

export const levelOf = (level: GatewaySettings["log"]["level"]): LogLevel.LogLevel => levels[level]
