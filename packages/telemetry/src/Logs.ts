/**
 * How log entries look and where they go: one line each, on standard error.
 *
 * Standard output is left to what a person or a pipe asked for (an answer, a start-up text), so that logs never mix with it. The
 * format is JSON for machines, or `pretty` for a terminal. An entry carries the trace and span that it was written in; `trace_id` is the
 * caller's `x-trace-id` where it sent one (`Propagation`), and `span_trace_id` then the id of the span's own trace.
 *
 * `Effect.logInfo("request", { method, status })` gives the message `request` and two fields. Secrets wrapped in `Redacted` print
 * as `<redacted>`, and whatever looks like a DeepSeek key is masked, wherever it stands. Control characters and bidirectional
 * controls are escaped as in JSON (`\\u001b`), since clients and upstreams choose some of the texts: a line can't move the
 * terminal's cursor, or look like another.
 *
 * A reader of standard error that can't keep up costs lines, which `ballast_telemetry_dropped_total` counts; it never holds up the program.
 *
 * `BALLAST_LOG_LEVEL` and `BALLAST_LOG_FORMAT` are described in the README of this package.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Formatter from "effect/Formatter"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Metric from "effect/Metric"
import * as References from "effect/References"
import { setTimeout } from "node:timers"
import { droppedItems } from "./internal/dropped.ts"
import { causeOf, idsOf, IsWritten, read } from "./internal/entry.ts"
import * as escape from "./internal/escape.ts"
import { mask } from "./internal/mask.ts"

/**
 * The format of a line.
 *
 * @category models
 * @since 0.1.0
 */
export type Format = "json" | "pretty"

/**
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Default `"json"`. */
  readonly format?: Format | undefined
  /** The least severe level that is written. Default `"Info"`. */
  readonly level?: LogLevel.LogLevel | undefined
  /** Whether the pretty format uses colours. Default `false`. */
  readonly colors?: boolean | undefined
  /**
   * Takes each line, its line feed included; `false` says that it was dropped. Default: standard error, of which at most 1 MiB waits for its
   * reader.
   */
  readonly write?: ((line: string) => unknown) | undefined
}

/** Bytes that may wait for the reader of standard error, and characters that may wait to be written. */
const maxWaiting = 1_048_576

/** Milliseconds between two writes, unless there is this much to write. Under load, a system call for each line would cost more than the line. */
const pause = 50
const chunk = 65_536

const dropped = Metric.withAttributes(droppedItems, { signal: "logs" })

/** Lines that wait to be written, their number, and where the last of them comes from. */
let waiting = ""
let count = 0
let from: Context.Context<never> = Context.empty()
let isPaused = false
let isDue = false
let isPrepared = false

const flush = (): void => {
  const [lines, written, context] = [waiting, count, from]
  waiting = ""
  count = 0
  if (lines === "") return
  // A disk that is full, or a reader that has gone.
  process.stderr.write(lines, (error) => {
    if (error != null) dropped.updateUnsafe(written, context)
  })
  if (isPaused) return
  isPaused = true
  // Real time, whatever the program's clock says: the reader lives by it.
  // @effect-diagnostics-next-line globalTimers:off
  setTimeout(() => {
    isPaused = false
    flush()
  }, pause).unref()
}

/**
 * A reader that can't keep up costs lines, not memory. The first line goes out at the end of its turn of the event loop, and those that follow soon after
 * it together; one of trouble waits for no others.
 */
const writeToStderr = (line: string, isTrouble: boolean, context: Context.Context<never>): boolean => {
  if (process.stderr.writableLength + waiting.length > maxWaiting) return false
  if (!isDue && (isTrouble || !isPaused)) {
    isDue = true
    setImmediate(() => {
      isDue = false
      flush()
    })
  }
  if (!isPrepared) {
    isPrepared = true
    process.on("exit", flush)
    // What was not written is counted, and ends no program. Each thread of the program has a listener here too, which Node would take for a leak.
    const most = process.stderr.getMaxListeners()
    process.stderr.setMaxListeners(Infinity).on("error", () => {}).setMaxListeners(most)
  }
  waiting += line
  count++
  from = context
  if (waiting.length >= chunk) flush()
  return true
}

/** A logger that writes what `format` gives, and counts what is dropped. */
const writing = (format: (entry: Logger.Options<unknown>) => string | undefined, options?: Options) => {
  const write: typeof writeToStderr | NonNullable<Options["write"]> = options?.write ?? writeToStderr
  return Logger.make<unknown, void>((entry) => {
    const line = format(entry)
    const isTrouble = LogLevel.isGreaterThanOrEqualTo(entry.logLevel, "Warn")
    const { context } = entry.fiber
    if (line !== undefined && write(`${line}\n`, isTrouble, context) === false) dropped.updateUnsafe(1, context)
  })
}

const json = (value: unknown): string => {
  switch (typeof value) {
    case "string":
      return JSON.stringify(value)
    case "number":
      return Number.isFinite(value) ? String(value) : `"${value}"`
    case "boolean":
      return String(value)
    default:
      return Formatter.formatJson(value) ?? "null"
  }
}

const reserved: ReadonlySet<string> = new Set([
  "time",
  "level",
  "message",
  "trace_id",
  "span_id",
  "span_trace_id",
  "cause"
])

/** The quoted names of fields. They are those of the code: few. */
const keys = new Map<string, string>()
const maxKeys = 1024

const keyOf = (name: string): string => {
  let key = keys.get(name)
  if (key === undefined) {
    key = `,${JSON.stringify(reserved.has(name) ? `_${name}` : name)}:`
    if (keys.size < maxKeys) keys.set(name, key)
  }
  return key
}

/** The second of the last line, in milliseconds since the epoch, and its text up to the milliseconds. */
let second = NaN
let untilSecond = ""

/** A time by ISO 8601. Under load most lines have the second of the line before. */
const timeOf = (date: Date): string => {
  const millis = date.getTime()
  const own = Math.floor(millis / 1000) * 1000
  if (own !== second) {
    second = own
    untilSecond = date.toISOString().slice(0, -4)
  }
  return `${untilSecond}${String(millis - own).padStart(3, "0")}Z`
}

/**
 * Formats an entry as one line of JSON: `time` (ISO 8601), `level`, `message`, the fields and annotations, `trace_id`, `span_id`, `span_trace_id`, `cause`.
 *
 * **Gotchas**
 *
 * A field whose name is one of these gets a `_` in front.
 *
 * @category loggers
 * @since 0.1.0
 */
export const formatJson: Logger.Logger<unknown, string> = Logger.make((options) => {
  let fields = ""
  const message = read(options, (name, value) => {
    fields += keyOf(name) + json(value)
  })
  const { span, spanTrace, trace } = idsOf(options)
  const cause = causeOf(options)
  let line = `{"time":"${timeOf(options.date)}","level":"${options.logLevel.toLowerCase()}","message":${json(message)}`
  line += fields
  if (trace !== undefined) line += `,"trace_id":"${trace}"`
  if (span !== undefined) line += `,"span_id":"${span}"`
  if (spanTrace !== undefined) line += `,"span_trace_id":"${spanTrace}"`
  if (cause !== undefined) line += `,"cause":${json(cause)}`
  return mask(escape.json(line + "}"))
})

const paint = {
  dim: (text: string) => `\x1b[2m${text}\x1b[22m`,
  red: (text: string) => `\x1b[31m${text}\x1b[39m`,
  yellow: (text: string) => `\x1b[33m${text}\x1b[39m`,
  green: (text: string) => `\x1b[32m${text}\x1b[39m`
}

const paintOf: { readonly [Level in LogLevel.LogLevel]: (text: string) => string } = {
  All: paint.dim,
  Trace: paint.dim,
  Debug: paint.dim,
  Info: paint.green,
  Warn: paint.yellow,
  Error: paint.red,
  Fatal: paint.red,
  None: paint.dim
}

/** As it is where that is one plain word, else as JSON. */
const word = (value: unknown): string => {
  const text = typeof value === "string" && !/[\s"=]/.test(value) ? value : json(value)
  return escape.line(text)
}

/**
 * Formats an entry for a person: time of day, level, message, fields as `key=value` with `trace_id` as the last, and the cause on lines of
 * its own, indented.
 *
 * @category loggers
 * @since 0.1.0
 */
export const formatPretty = (options?: { readonly colors?: boolean | undefined }): Logger.Logger<unknown, string> => {
  const colors = options?.colors === true
  return Logger.make((entry) => {
    const fields: Array<string> = []
    const field = (name: string, value: unknown) => void fields.push(`${word(name)}=${word(value)}`)
    const message = escape.line(read(entry, field))
    const { trace } = idsOf(entry)
    if (trace !== undefined) field("trace_id", trace)
    const cause = causeOf(entry)
    const time = entry.date.toISOString().slice(11, 23)
    const level = entry.logLevel.toUpperCase().padEnd(5)
    const details = fields.join(" ")
    const line = colors
      ? `${paint.dim(time)} ${paintOf[entry.logLevel](level)} ${message}${details && ` ${paint.dim(details)}`}`
      : `${time} ${level} ${message}${details && ` ${details}`}`
    return mask(cause === undefined ? line : `${line}\n${escape.lines(cause)}`)
  })
}

/**
 * Replaces the loggers with one that writes as the options say.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<never> => {
  const format = options?.format === "pretty" ? formatPretty(options) : formatJson
  return Layer.merge(
    Logger.layer([writing((entry) => format.log(entry), options)]),
    Layer.succeed(References.MinimumLogLevel, options?.level ?? "Info")
  )
}

/**
 * Loggers whose level and format can change while the program runs.
 *
 * @category models
 * @since 0.1.0
 */
export interface Live {
  readonly layer: Layer.Layer<never>
  /** What is left out is as by default. */
  readonly update: (options: Pick<Options, "format" | "level">) => Effect.Effect<void>
}

/**
 * Creates loggers that begin as the options say and can be changed later.
 *
 * @category constructors
 * @since 0.1.0
 */
export const live = (options: Options = {}): Live => {
  const pretty = formatPretty(options)
  let { format, level = "Info" } = options
  const isWritten = (given: LogLevel.LogLevel) => LogLevel.isGreaterThanOrEqualTo(given, level)
  const logger = writing(
    (entry) => isWritten(entry.logLevel) ? (format === "pretty" ? pretty : formatJson).log(entry) : undefined,
    options
  )
  return {
    // The logger itself looks at the level, which fibers would keep as it was when they began.
    layer: Layer.mergeAll(
      Logger.layer([logger]),
      Layer.succeed(References.MinimumLogLevel, "All"),
      Layer.succeed(IsWritten, isWritten)
    ),
    update: (next) =>
      Effect.sync(() => {
        format = next.format
        level = next.level ?? "Info"
      })
  }
}

const levels: ReadonlyMap<string, LogLevel.LogLevel> = new Map([
  ["trace", "Trace"],
  ["debug", "Debug"],
  ["info", "Info"],
  ["warn", "Warn"],
  ["warning", "Warn"],
  ["error", "Error"],
  ["fatal", "Fatal"],
  ["none", "None"],
  ["off", "None"]
])

const oneOf = <A>(name: string, values: ReadonlyMap<string, A>, expected: string): Config.Config<A> =>
  Config.String(name).pipe(Config.mapEffect((text) => {
    const value = values.get(text.trim().toLowerCase())
    return value !== undefined ? Effect.succeed(value) : Effect.fail(
      new Config.ConfigError(
        new ConfigProvider.SourceError({ message: `${name} is ${JSON.stringify(text)}. Expected ${expected}.` })
      )
    )
  }))

/**
 * The log level from `BALLAST_LOG_LEVEL`; absent when it is not set. A wrong value is an error that names the right ones.
 *
 * @category config
 * @since 0.1.0
 */
export const level: Config.Config<LogLevel.LogLevel | undefined> = oneOf(
  "BALLAST_LOG_LEVEL",
  levels,
  "one of trace, debug, info, warn, error, fatal, none, for example BALLAST_LOG_LEVEL=debug"
).pipe(Config.withDefault(undefined))

const isTerminal = (): boolean => process.stderr.isTTY === true

/**
 * The format where none is chosen: pretty when standard error is a terminal, else JSON.
 *
 * @category accessors
 * @since 0.1.0
 */
export const terminalFormat = (): Format => isTerminal() ? "pretty" : "json"

/**
 * Whether colours are wanted: standard error is a terminal, and `NO_COLOR` is not set.
 *
 * @category config
 * @since 0.1.0
 */
export const colors: Config.Config<boolean> = Config.map(
  Config.option(Config.String("NO_COLOR")),
  (noColor) => isTerminal() && noColor._tag === "None"
)

const formats: ReadonlyMap<string, Format> = new Map([["json", "json"], ["pretty", "pretty"]])

/**
 * The format from `BALLAST_LOG_FORMAT`; absent when it is not set.
 *
 * @category config
 * @since 0.1.0
 */
export const format: Config.Config<Format | undefined> = oneOf(
  "BALLAST_LOG_FORMAT",
  formats,
  "json or pretty, for example BALLAST_LOG_FORMAT=json"
).pipe(Config.withDefault(undefined))

/**
 * Loggers as the environment says. Fails when a variable has a value that is not one of those in the table above.
 *
 * **Details**
 *
 * Without `BALLAST_LOG_FORMAT` the format is pretty when standard error is a terminal. Colours follow the terminal and `NO_COLOR`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig: Layer.Layer<never, Config.ConfigError> = Layer.unwrap(
  Effect.map(
    Config.all({ level, format, colors }),
    ({ colors, format, level }) => layer({ level, format: format ?? terminalFormat(), colors })
  )
)
