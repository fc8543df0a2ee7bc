/**
 * What goes differently for one request: another status or body, slow or broken streams, odd answers.
 *
 * A fault comes from the plan of the simulator's options, or from the header `x-simulate` of one request, which then takes the plan's
 * place: `x-simulate: ttft=2s, tps=20, stall=5`. Keys and values are separated by `=`, pairs by commas, values may be
 * percent-encoded (a comma is `%2C`). At most one of `stall`, `cut`, `end`, `error` and `malformed` makes sense.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Result from "effect/Result"
import { bounds, isHeaderValue, isWithin } from "./internal/faultValues.ts"

/**
 * One fault. Without fields nothing is different.
 *
 * **Details**
 *
 * An error status (400 to 599) or a redirect (300 to 399) comes in place of the answer, with the body that the service sends with it. A
 * success (200 to 299) leaves the answer as it is and changes its status alone; 204, 205 and 304 have no body. `body` comes in place of
 * every other body, with status 200 unless `status` says otherwise. Such an answer asks for no key.
 *
 * `stall`, `cut`, `end` and `error` count the events of a stream that arrive before. A body that is no stream breaks in its middle, or
 * at its start for 0.
 *
 * @category models
 * @since 0.1.0
 */
export interface Fault {
  /** HTTP status, 200 to 599. Default: the answer's own. */
  readonly status?: number | undefined
  /** Which text a 429 carries. Default: `"concurrency"`. */
  readonly limit?: "concurrency" | "balance" | "rate" | undefined
  /** Takes the place of the body: an error object under a 200, for example. */
  readonly body?: string | undefined
  /** Value of `Retry-After`: seconds or an HTTP date. Default: no such header. */
  readonly retryAfter?: string | undefined
  /** Value of `Location`: where a redirect leads. Default: no such header. */
  readonly location?: string | undefined
  /** Time until the status and headers. */
  readonly latency?: Duration.Input | undefined
  /** Time from the headers to the first token. */
  readonly timeToFirstToken?: Duration.Input | undefined
  /** Tokens per second after the first, above 0; `Infinity` for all at once. */
  readonly tokensPerSecond?: number | undefined
  /** How many `: keep-alive` comments come before the first event of a stream. */
  readonly keepAlive?: number | undefined
  /** How many blank lines come before a JSON body. */
  readonly padding?: number | undefined
  /** Silence after this many events; the connection stays open. */
  readonly stall?: number | undefined
  /** The connection is destroyed after this many events; 0 is before the status line. */
  readonly cut?: number | undefined
  /** The body ends cleanly, yet too early, after this many events. */
  readonly end?: number | undefined
  /** An error object arrives, and the stream ends, after this many events. */
  readonly error?: number | undefined
  /** The second event of a stream, or the body, is not JSON. */
  readonly malformed?: boolean | undefined
  /** The answer has no text, no reasoning and no tool call. */
  readonly empty?: boolean | undefined
  /** Takes the place of the finish reason, such as `insufficient_system_resource`. `content_filter` drops text and tool calls. */
  readonly finish?: string | undefined
  /** The model stops after so many tokens, reasoning included, with `finish`, or `length`. */
  readonly after?: number | undefined
  /** Least length of the answer's text in tokens. Default: three to six sentences. */
  readonly tokens?: number | undefined
  /** How many tool calls the answer makes, 0 for text. Default: 1 where the model would call. */
  readonly calls?: number | undefined
  /** Tool calls leak into the text, in the model's own markup, and `tool_calls` is absent. */
  readonly dsml?: boolean | undefined
  /** The arguments of tool calls are not JSON. */
  readonly brokenArguments?: boolean | undefined
}

/**
 * A fault that happens to some of the chat requests.
 *
 * **Details**
 *
 * All conditions given must hold. `nth` counts chat requests from 1.
 *
 * @category models
 * @since 0.1.0
 */
export interface Planned {
  /** Start of the window, counted from the simulator's start. Default: 0. */
  readonly from?: Duration.Input | undefined
  /** End of the window, not included. Default: never. */
  readonly to?: Duration.Input | undefined
  /** The number of the request, or the first and last number. Default: all. */
  readonly nth?: number | readonly [first: number, last: number] | undefined
  /** Chance that the fault happens, 0 to 1, drawn from the seed and the number of the request. Default: 1. */
  readonly probability?: number | undefined
  readonly fault: Fault
}

/**
 * What the header `x-simulate` says: a fault, and for how many requests of the scenario `id` it holds.
 *
 * @category models
 * @since 0.1.0
 */
export interface Directive {
  readonly fault: Fault
  readonly scenario: { readonly id: string; readonly times: number } | undefined
}

type Read = Result.Result<Fault & { readonly times?: number; readonly id?: string }, string>

const whole = (
  range: readonly [min: number, max: number],
  make: (value: number) => Fault & { readonly times?: number }
) =>
(text: string): Read => {
  const value = Number(text)
  return /^\d+$/.test(text) && isWithin(value, range)
    ? Result.succeed(make(value))
    : Result.fail(`a whole number from ${range[0]} to ${range[1]}`)
}

const milliseconds: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 }

const time = (make: (value: Duration.Duration) => Fault) => (text: string): Read => {
  const [, value, unit] = /^(\d+(?:\.\d+)?)\s*(ms|s|m|h)?$/.exec(text) ?? []
  const factor = unit === undefined ? (value === "0" ? 1 : undefined) : milliseconds[unit]
  return value === undefined || factor === undefined
    ? Result.fail("a time such as 500ms, 2s or 1m")
    : Result.succeed(make(Duration.millis(Number(value) * factor)))
}

const word = (make: (value: string) => Fault & { readonly id?: string }) => (text: string): Read =>
  text === "" ? Result.fail("some text") : Result.succeed(make(text))

const header = (example: string, make: (value: string) => Fault) => (text: string): Read =>
  isHeaderValue(text) ? Result.succeed(make(text)) : Result.fail(`printable ASCII, such as ${example}`)

const flag = (fault: Fault) => (text: string): Read =>
  text === "" || text === "true" ? Result.succeed(fault) : Result.fail("nothing: it is a flag")

const limits = ["concurrency", "balance", "rate"] as const

const readers: Record<string, (text: string) => Read> = {
  status: whole(bounds.status, (status) => ({ status })),
  limit: (text) => {
    const limit = limits.find((limit) => limit === text)
    return limit === undefined ? Result.fail(`one of ${limits.join(", ")}`) : Result.succeed({ limit })
  },
  body: (body) => Result.succeed({ body }),
  "retry-after": header("2 or an HTTP date", (retryAfter) => ({ retryAfter })),
  location: header("https://example.com/", (location) => ({ location })),
  latency: time((latency) => ({ latency })),
  ttft: time((timeToFirstToken) => ({ timeToFirstToken })),
  tps: (text) => {
    const tokensPerSecond = Number(text)
    return tokensPerSecond > 0 ? Result.succeed({ tokensPerSecond }) : Result.fail("a number above 0")
  },
  keepalive: whole(bounds.keepAlive, (keepAlive) => ({ keepAlive })),
  padding: whole(bounds.padding, (padding) => ({ padding })),
  stall: whole(bounds.stall, (stall) => ({ stall })),
  cut: whole(bounds.cut, (cut) => ({ cut })),
  end: whole(bounds.end, (end) => ({ end })),
  error: whole(bounds.error, (error) => ({ error })),
  malformed: flag({ malformed: true }),
  empty: flag({ empty: true }),
  finish: word((finish) => ({ finish })),
  after: whole(bounds.after, (after) => ({ after })),
  tokens: whole(bounds.tokens, (tokens) => ({ tokens })),
  calls: whole(bounds.calls, (calls) => ({ calls })),
  dsml: flag({ dsml: true }),
  badargs: flag({ brokenArguments: true }),
  times: whole([1, 1_000_000], (times) => ({ times })),
  id: word((id) => ({ id }))
}

const decodeURI = (text: string): string => {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/**
 * Reads the value of `x-simulate`. The failure says in a sentence what would be right.
 *
 * @category constructors
 * @since 0.1.0
 */
export const parse = (header: string): Result.Result<Directive, string> =>
  Result.gen(function*() {
    let all: Fault & { readonly times?: number; readonly id?: string } = {}
    for (const pair of header.split(",").map((pair) => pair.trim()).filter((pair) => pair !== "")) {
      const [, key = "", text = ""] = /^([^=\s]*)\s*(?:=\s*(.*))?$/s.exec(pair) ?? []
      const read = Object.hasOwn(readers, key) ? readers[key] : undefined
      if (read === undefined) {
        return yield* Result.fail(`x-simulate: unknown key "${key}"; the keys are ${Object.keys(readers).join(", ")}.`)
      }
      all = {
        ...all,
        ...(yield* Result.mapError(read(decodeURI(text)), (right) =>
          `x-simulate: ${key} must be ${right}, got "${text}".`))
      }
    }
    const { id, times, ...fault } = all
    if ((id === undefined) !== (times === undefined)) {
      return yield* Result.fail("x-simulate: times and id go together, as in \"status=503, times=2, id=abc\".")
    }
    return { fault, scenario: id === undefined || times === undefined ? undefined : { id, times } }
  })
