/**
 * Settings from one key of etcd 3.4 or later, a YAML or JSON text, through its JSON gateway. The watch begins at the revision after
 * the one that was read, so no change between reading and watching is missed. It is opened again every minute, in case the
 * connection was lost without a sign. https://etcd.io/docs/v3.4/dev-guide/api_grpc_gateway/
 */
import * as Effect from "effect/Effect"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { attempt, fail, json, refused, send } from "./internal/http.ts"
import { type Content, type Source, SourceError } from "./Source.ts"

/**
 * Which key of which etcd.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Address of a member, such as `http://127.0.0.1:2379`. */
  readonly url: string
  readonly key: string
  /** Default: no login. */
  readonly username?: string | undefined
  readonly password?: Redacted.Redacted<string> | undefined
}

const Base64 = Schema.StringFromBase64
const Range = Schema.Struct({
  header: Schema.Struct({ revision: Schema.String }),
  kvs: Schema.optional(Schema.Array(Schema.Struct({ value: Schema.optional(Base64) })))
})
const Token = Schema.Struct({ token: Schema.String })
/** A line of the watch: events, the end of the watch, an error, or only that it has begun. */
const Line = Schema.fromJsonString(Schema.Struct({
  result: Schema.optional(Schema.Struct({
    events: Schema.optional(Schema.Array(Schema.Unknown)),
    canceled: Schema.optional(Schema.Boolean)
  })),
  error: Schema.optional(Schema.Unknown)
}))

const encode = (text: string) => Buffer.from(text, "utf8").toString("base64")

/**
 * Settings from a key of etcd. A key that does not exist at the start is empty.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = ({ key, password, url, username }: Options): Source<HttpClient.HttpClient> => {
  const source = `etcd ${key}`
  const base = url.replace(/\/+$/, "")
  const post = (path: string, body: object, token: string | undefined) =>
    HttpClientRequest.post(`${base}${path}`).pipe(
      HttpClientRequest.bodyJsonUnsafe(body),
      token === undefined ? (request) => request : HttpClientRequest.setHeader("Authorization", token)
    )
  const decode = <A>(schema: Schema.Decoder<A>, value: unknown) =>
    Effect.mapError(
      Schema.decodeUnknownEffect(schema)(value),
      () => new SourceError({ source, reason: "answered with an unknown form" })
    )

  const ask = Effect.fnUntraced(function*<A>(schema: Schema.Decoder<A>, path: string, body: object, token?: string) {
    const answer = yield* send(source, post(path, body, token))
    return answer.status === 200 ? yield* decode(schema, yield* json(source, answer)) : yield* refused(source, answer)
  })
  /** Tokens of etcd live for minutes, so each reading logs in again. */
  const login = Effect.suspend(() =>
    username === undefined
      ? Effect.succeed(undefined)
      : Effect.map(
        ask(Token, "/v3/auth/authenticate", {
          name: username,
          password: password === undefined ? "" : Redacted.value(password)
        }),
        ({ token }) => token
      )
  )

  const open = Effect.fnUntraced(function*() {
    const client = yield* HttpClient.HttpClient
    let revision = 0n

    const read = Effect.gen(function*() {
      const { header, kvs } = yield* ask(Range, "/v3/kv/range", { key: encode(key) }, yield* login)
      revision = BigInt(header.revision)
      const value = kvs?.[0]
      return value === undefined ? [] : [{ _tag: "Document", name: source, text: value.value ?? "" } satisfies Content]
    })

    const watch = Effect.gen(function*() {
      const create_request = { key: encode(key), start_revision: String(revision + 1n) }
      const response = yield* HttpClient.execute(post("/v3/watch", { create_request }, yield* login))
      if (response.status !== 200) return yield* refused(source, { status: response.status, text: "" })
      const line = yield* response.stream.pipe(
        Stream.decodeText,
        Stream.splitLines,
        Stream.mapEffect((line) => decode(Line, line)),
        Stream.filter(({ error, result }) =>
          error !== undefined || result?.canceled === true || (result?.events?.length ?? 0) > 0
        ),
        Stream.runHead
      )
      if (Option.isNone(line)) return yield* fail(source, "ended the watch")
      if (line.value.error !== undefined) return yield* fail(source, "ended the watch with an error")
    })
    return {
      read: Effect.provideService(read, HttpClient.HttpClient, client),
      changed: Effect.provideService(
        attempt(source, "2 minutes", Effect.timeoutOption(watch, "1 minute")),
        HttpClient.HttpClient,
        client
      ).pipe(Effect.asVoid)
    }
  })
  return { name: source, remote: true, open }
}
