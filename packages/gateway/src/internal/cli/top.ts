/** `ballast top`: what a gateway is doing, from two readings of its metrics and from its admin API. */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as AdminApi from "../../AdminApi.ts"
import { StartError } from "../../StartError.ts"
import { showAccounts } from "./admin.ts"
import { noColour, type Paint, type Place, place, send } from "./adminClient.ts"
import { type Between, between, parse, type Reading } from "./exposition.ts"
import { painter, plain, table } from "./table.ts"

export interface Options {
  readonly url: string | undefined
  /** One frame, and the end. */
  readonly once: boolean
  /** Between two frames, in seconds. */
  readonly interval: number
}

type Account = typeof AdminApi.Account.Type

/** What is known of a gateway at a time. */
interface Look {
  readonly reading: Reading
  readonly accounts: ReadonlyArray<Account>
  readonly version: string
}

const decoded = <A>(schema: Schema.Decoder<A>, text: string) =>
  Effect.mapError(
    Schema.decodeUnknownEffect(Schema.fromJsonString(schema))(text),
    () => new StartError({ detail: "The gateway's answer is of another version than this program." })
  )

const look = Effect.fnUntraced(function*(at: Place) {
  // The admin API first: it says in words why a key is refused.
  const { version } = yield* decoded(AdminApi.Status, yield* send(at, "GET", "/admin/v1/status"))
  const accounts = yield* decoded(Schema.Array(AdminApi.Account), yield* send(at, "GET", "/admin/v1/accounts"))
  const text = yield* send(at, "GET", "/metrics")
  const found: Look = { reading: parse(text, yield* Clock.currentTimeMillis), accounts, version }
  return found
})

const rateOf = (value: number): string => value.toFixed(value !== 0 && value < 10 ? 1 : 0)

const share = (part: number, all: number): string => all === 0 ? "-" : `${(100 * part / all).toFixed(1)} %`

const timeOf = (seconds: number | undefined): string => {
  if (seconds === undefined) return "-"
  return seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(seconds < 10 ? 2 : 1)} s`
}

/** Two quantiles in one cell. */
const quantiles = (past: Between, name: string, where?: Parameters<Between["quantile"]>[2]): string =>
  [0.5, 0.99].map((quantile) => timeOf(past.quantile(name, quantile, where))).join(" / ")

/** Routes that the gateway is watched by, and paths that it does not have, are no work of its own. The alerts leave out the same. */
const isWatching: ReadonlySet<string> = new Set([
  "/metrics",
  "/healthz",
  "/readyz",
  "/admin/*",
  "/ops/dingtalk",
  "/ops/feishu",
  "/ops/wecom",
  "unknown"
])

const isWork = ({ route = "" }: Readonly<Record<string, string>>): boolean => !isWatching.has(route)

const tokensOf = (past: Between, type: string, where: (labels: Readonly<Record<string, string>>) => boolean): string =>
  rateOf(past.rate("gen_ai_client_token_usage_sum", (labels) => labels["type"] === type && where(labels)))

const showRequests = (past: Between, paint: Paint): string => {
  const all = past.rate("ballast_requests_total", isWork)
  const byFault = (fault: string) =>
    past.rate("ballast_requests_total", (labels) => isWork(labels) && labels["fault"] === fault)
  const failed = ["policy", "provider", "ballast"].map((fault) => [fault, byFault(fault)] as const)
  // What callers got wrong counts on neither side, as in the alerts.
  const counted = all - byFault("caller")
  const worst = failed.filter(([, rate]) => rate > 0).map(([fault, rate]) => `${fault} ${rateOf(rate)}`)
  return table(["requests/s", "failed", "p50 / p99", "tokens/s in", "cached", "out", "thought", "loop p99", "heap"], [[
    rateOf(all),
    worst.length === 0
      ? "0"
      : paint("red", `${share(failed.reduce((sum, [, rate]) => sum + rate, 0), counted)} (${worst.join(", ")})`),
    quantiles(past, "http_request_duration_seconds", isWork),
    ...["input", "cached", "output", "reasoning"].map((type) => tokensOf(past, type, () => true)),
    timeOf(past.highest("nodejs_eventloop_delay_p99_seconds")),
    `${Math.round(past.now("v8js_memory_heap_used_bytes") / 1_048_576)} MiB`
  ]])
}

/** What a caller got wrong is no failure, as in the row above. */
const isFailed = ({ fault, outcome }: Readonly<Record<string, string>>): boolean =>
  outcome === "error" && fault !== "caller"

/** The models that were called, the busiest first. */
const showCalls = (past: Between, rows: number): string => {
  const name = "gen_ai_client_operation_duration_seconds"
  const lanes = past.valuesOf(`${name}_count`, "name").flatMap((lane) =>
    past.valuesOf(`${name}_count`, "model").flatMap((model) => {
      const where = (labels: Readonly<Record<string, string>>) => labels["name"] === lane && labels["model"] === model
      const calls = past.rate(`${name}_count`, where)
      return calls === 0 ? [] : [{ lane, model, where, calls }]
    })
  ).toSorted((a, b) => b.calls - a.calls)
  if (lanes.length === 0) return "No calls.\n"
  return table(
    ["account", "model", "calls/s", "failed", "p50 / p99", "first token", "tokens/s out"],
    lanes.slice(0, rows).map(({ calls, lane, model, where }) => [
      plain(lane),
      plain(model),
      rateOf(calls),
      share(past.rate("ballast_calls_total", (labels) => where(labels) && isFailed(labels)), calls),
      quantiles(past, name, where),
      quantiles(past, "gen_ai_client_time_to_first_token_seconds", where),
      tokensOf(past, "output", where)
    ])
  ) + (lanes.length > rows ? `and ${lanes.length - rows} more\n` : "")
}

const showCircuits = (accounts: ReadonlyArray<Account>, rows: number, paint: Paint): string => {
  const circuits = accounts.flatMap(({ circuits }) => circuits)
  const other = circuits.filter(({ state }) => state !== "closed")
  if (other.length === 0) return `All ${circuits.length} circuits are closed.\n`
  return other.slice(0, rows).map(({ name, state }) =>
    `${paint(state === "half-open" ? "yellow" : "red", state)} ${plain(name)}\n`
  ).join("") + (other.length > rows ? `and ${other.length - rows} more\n` : "")
}

/** How many rows each part of a frame has at most. */
const rows = 12

const frame = (at: Place, before: Look, after: Look, paint: Paint): string => {
  const past = between(before.reading, after.reading)
  const time = DateTime.formatIso(DateTime.makeUnsafe(after.reading.at)).slice(11, 19)
  // Without the request that reads it.
  const running = Math.max(0, past.now("http_server_active_requests") - 1)
  return [
    `ballast ${plain(after.version)} at ${at.url}, ${time} UTC, running: ${running}\n`,
    showRequests(past, paint),
    showCalls(past, rows),
    showCircuits(after.accounts, rows, paint),
    showAccounts(after.accounts.slice(0, rows), paint) +
    (after.accounts.length > rows ? `and ${after.accounts.length - rows} more\n` : "")
  ].join("\n")
}

const write = (text: string) => Effect.sync(() => void process.stdout.write(text))

/** Whether the text was taken: a reader may have gone, as of `| head`. */
const isTaken = (text: string) =>
  Effect.callback<boolean>((resume) => {
    process.stdout.write(text, (error) => resume(Effect.succeed(error == null)))
  })

/** A screen of its own, without a cursor and without broken lines, as long as the scope lives. */
const screen = Effect.acquireRelease(
  write("\x1b[?1049h\x1b[?25l\x1b[?7l"),
  () => write("\x1b[?7h\x1b[?25h\x1b[?1049l")
)

/** Draws over the frame before, without a flicker: as much as the terminal has room for. */
const redraw = (text: string): string => {
  const lines = text.trimEnd().split("\n").slice(0, process.stdout.rows)
  return `\x1b[H${lines.join("\x1b[K\n")}\x1b[J`
}

/** Shows frames until it is interrupted or has no reader any more, or one. */
export const top = Effect.fnUntraced(function*({ interval, once, url }: Options) {
  const at = yield* place(url)
  const isTerminal = process.stdout.isTTY === true
  const paint = painter(isTerminal && !(yield* noColour))
  const wait = Effect.sleep(Duration.seconds(interval))
  let before = yield* look(at)
  yield* wait
  if (once) return yield* write(frame(at, before, yield* look(at), paint))
  if (isTerminal) yield* screen
  const step = look(at).pipe(
    Effect.map((after) => {
      const text = frame(at, before, after, paint)
      before = after
      return text
    }),
    // A gateway that starts anew is there again soon.
    Effect.catchTag("StartError", ({ message }) => Effect.succeed(`${paint("red", message)}\nTrying again.\n`)),
    Effect.flatMap((text) => isTaken(isTerminal ? redraw(text) : `${text}\n`))
  )
  while (yield* step) yield* wait
}, Effect.scoped)
