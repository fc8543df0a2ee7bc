/** The way to a gateway that runs, with an admin key: what its commands in the terminal share. */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Stdio from "effect/Stdio"
import { StartError } from "../../StartError.ts"
import { print } from "./print.ts"
import { type Colour, painter, plain } from "./table.ts"

export type Method = "GET" | "POST" | "PATCH" | "DELETE"

const defaultUrl = "http://127.0.0.1:8787"

const timeout = "15 seconds"

const fail = (detail: string) => Effect.fail(new StartError({ detail }))

/** A variable of the environment, unless it is empty. */
const given = (name: string) =>
  Config.withDefault(
    Config.map(Config.String(name), (text): string | undefined => text.trim() || undefined),
    undefined
  )

/** Where a gateway is, and the key for it. */
export interface Place {
  readonly url: string
  /** Undefined for a gateway that lets all in. */
  readonly key: Redacted.Redacted | undefined
}

/** The place by the flag `--url`, or the environment. */
export const place = Effect.fnUntraced(function*(url: string | undefined, { needsKey = true } = {}) {
  const text = url ?? (yield* given("BALLAST_ADMIN_URL")) ?? defaultUrl
  const parsed = URL.parse(text)
  // A path would be put after a query, which may hold a token.
  if (parsed === null || !/^https?:\/\/[^/@?#]+[^@?#]*$/.test(parsed.href)) {
    return yield* fail(
      `${
        url === undefined ? "BALLAST_ADMIN_URL" : "--url"
      } is not an http or https URL without user, query or fragment, ` +
        `such as ${defaultUrl}.`
    )
  }
  const key = yield* given("BALLAST_ADMIN_KEY")
  if (key === undefined && needsKey) {
    return yield* fail("BALLAST_ADMIN_KEY is not set. It is one of the gateway's admin keys.")
  }
  const found: Place = { url: parsed.href.replace(/\/+$/, ""), key: key === undefined ? undefined : Redacted.make(key) }
  return found
})

const Failure = Schema.fromJsonString(
  Schema.Struct({ error: Schema.Struct({ code: Schema.String, message: Schema.String }) })
)

const noAdmin =
  "This gateway has no admin API, since it has no admin keys. Set BALLAST_ADMIN_KEYS or admin.keys for it."

/** Names that a flag may have for a field: `olderThan` is `--older-than`, each of `models` is `--model`. */
const flagsOf = (field: string): ReadonlyArray<string> => {
  const parts = field.split(".").filter((part) => !/^\d+$/.test(part))
  const names = [parts.at(-1), parts[0], parts.slice(-2).join("-")].map((part = "") =>
    `--${part.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`
  )
  return names.flatMap((name) => [name, name.replace(/s$/, ""), name.replace(/es$/, "")])
}

/** A field of a request is told by the flag that gave it. */
const asWritten = (message: string, args: ReadonlyArray<string>): string =>
  message.replaceAll(/(?<=^|; )[A-Za-z][\w.]*(?=: Expected )/g, (field) => {
    const isGiven = (flag: string) => args.some((arg) => arg === flag || arg.startsWith(`${flag}=`))
    return flagsOf(field).find(isGiven) ?? field
  })

/** Why an answer can't be used. */
const failureOf = (status: number, text: string, url: string, path: string): string => {
  const failure = Option.getOrUndefined(Schema.decodeUnknownOption(Failure)(text))?.error
  if (failure === undefined) return `${url} answered ${status}, and is no gateway with an admin API.`
  if (failure.code !== "unknown_url") return plain(failure.message)
  return path.startsWith("/admin") ? noAdmin : "This gateway serves no workflows. Set workflows.files for it."
}

/** Sends a request and gives the text of its answer. */
export const send = Effect.fnUntraced(function*(
  { key, url }: Place,
  method: Method,
  path: string,
  order?: unknown
) {
  const bare = HttpClientRequest.make(method)(`${url}${path}`)
  const request = key === undefined ? bare : HttpClientRequest.bearerToken(bare, key)
  const body = order === undefined ? request : HttpClientRequest.bodyText(
    request,
    JSON.stringify(order),
    "application/json"
  )
  const [status, text] = yield* HttpClient.execute(body).pipe(
    Effect.flatMap((response) => Effect.map(response.text, (text) => [response.status, text] as const)),
    Effect.timeout(timeout),
    // Commands export no spans: the gateway's would be kept for one that is not there.
    Effect.provideService(HttpClient.TracerPropagationEnabled, false),
    Effect.catch((error) =>
      fail(
        error._tag === "TimeoutError"
          ? `The gateway at ${url} does not answer.`
          : `No gateway can be reached at ${url}. Say where it is with --url or BALLAST_ADMIN_URL.`
      )
    )
  )
  if (status < 300) return text
  const { args } = yield* Stdio.Stdio
  return yield* fail(asWritten(failureOf(status, text, url, path), yield* args))
}, Effect.provide(FetchHttpClient.layer))

export interface Options {
  readonly url: string | undefined
  readonly json: boolean
}

/** Colours a text, on a terminal. */
export type Paint = (colour: Colour, text: string) => string

/** Whether a person wants no colours. */
export const noColour = Config.map(given("NO_COLOR"), (value) => value !== undefined)

/** Shows an answer: as it came with `--json`, else as `show` has it. */
export const present = <A>(schema: Schema.Decoder<A>, show: (value: A, paint: Paint) => string) =>
  Effect.fnUntraced(function*({ json }: Pick<Options, "json">, text: string) {
    if (json) return yield* print(`${text.trimEnd()}\n`)
    const value = yield* Effect.mapError(
      Schema.decodeUnknownEffect(Schema.fromJsonString(schema))(text),
      () => new StartError({ detail: "The gateway's answer is of another version. Use --json to see it as it is." })
    )
    yield* print(show(value, painter(process.stdout.isTTY && !(yield* noColour))))
  })

/** Sends a request and shows its answer. */
export const ask = <A>(
  schema: Schema.Decoder<A>,
  show: (value: A, paint: Paint) => string,
  api = "/admin/v1"
) => {
  const shown = present(schema, show)
  return Effect.fnUntraced(function*(options: Options, method: Method, path: string, order?: unknown) {
    const at = yield* place(options.url, { needsKey: api === "/admin/v1" })
    yield* shown(options, yield* send(at, method, `${api}${path}`, order))
  })
}
