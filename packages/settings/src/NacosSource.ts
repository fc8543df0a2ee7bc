/**
 * Settings from one configuration of Nacos, a YAML or JSON text. Servers up to 3.1 are asked by the long polling of the `v1` HTTP
 * API: the server holds the question for up to 30 seconds and answers when the MD5 of the content differs. Servers from 3.2
 * have no waiting over HTTP: with `v3` the content is read at intervals and its MD5 compared.
 *
 * Written after the documented protocol and tested against a server of that protocol, not against a real Nacos.
 * https://nacos.io/docs/v1.X/open-api/
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { createHash } from "node:crypto"
import * as duration from "./internal/duration.ts"
import { type Answer, json, refused, send } from "./internal/http.ts"
import type { Content, Source } from "./Source.ts"
import { SourceError } from "./Source.ts"

/**
 * Which configuration of which Nacos.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Address of the server without a path, such as `http://127.0.0.1:8848`. */
  readonly url: string
  readonly dataId: string
  /** Default: `DEFAULT_GROUP`. */
  readonly group?: string | undefined
  /** Id of the namespace, which `v1` calls tenant. Default: the public one. */
  readonly namespace?: string | undefined
  /** `v1` for servers up to 3.1, `v3` for servers from 3.0. Default: `v1`. */
  readonly api?: "v1" | "v3" | undefined
  /** Default: no login. */
  readonly username?: string | undefined
  readonly password?: Redacted.Redacted<string> | undefined
  /** Time between two readings with `v3`, above zero. Default: 5 seconds. */
  readonly interval?: Duration.Input | undefined
}

const Login = Schema.Struct({ accessToken: Schema.String })
const Envelope = Schema.Struct({
  code: Schema.Finite,
  message: Schema.optional(Schema.NullOr(Schema.String)),
  data: Schema.optional(Schema.NullOr(Schema.Struct({ content: Schema.String })))
})

/** The codes of v3 for "there is no such configuration". */
const absent: ReadonlyArray<number> = [20004, 20005]

const md5 = (text: string) => createHash("md5").update(text, "utf8").digest("hex")

/**
 * Settings from a configuration of Nacos. A configuration that does not exist at the start is empty.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options): Source<HttpClient.HttpClient> => {
  const { api = "v1", dataId, group = "DEFAULT_GROUP", namespace, password, url, username } = options
  const interval = duration.interval("NacosSource.make", options.interval ?? "5 seconds")
  const source = `nacos ${dataId}`
  const base = `${url.replace(/\/+$/, "")}/nacos`

  const login = Effect.gen(function*() {
    const request = HttpClientRequest.post(`${base}/${api === "v1" ? "v1/auth/login" : "v3/auth/user/login"}`).pipe(
      HttpClientRequest.bodyUrlParams({
        username: username ?? "",
        password: password === undefined ? "" : Redacted.value(password)
      })
    )
    const answer = yield* send(source, request)
    if (answer.status !== 200) return yield* refused(source, answer)
    const { accessToken } = yield* Schema.decodeUnknownEffect(Login)(yield* json(source, answer)).pipe(
      Effect.mapError(() => new SourceError({ source, reason: "gave no access token" }))
    )
    return accessToken
  })

  const open = Effect.fnUntraced(function*() {
    const client = yield* HttpClient.HttpClient
    let token: string | undefined
    let last = ""

    const once = (request: HttpClientRequest.HttpClientRequest, time?: Duration.Input) =>
      Effect.gen(function*() {
        if (username !== undefined && token === undefined) token = yield* login
        return yield* send(
          source,
          token === undefined ? request : HttpClientRequest.setUrlParam(request, "accessToken", token),
          time
        )
      })
    /** An expired token is renewed once. */
    const ask = (request: HttpClientRequest.HttpClientRequest, time?: Duration.Input) =>
      Effect.flatMap(once(request, time), (answer) => {
        if (username === undefined || (answer.status !== 401 && answer.status !== 403)) return Effect.succeed(answer)
        token = undefined
        return once(request, time)
      })

    const envelope = (answer: Answer) =>
      Effect.gen(function*() {
        const { code, data, message } = yield* Schema.decodeUnknownEffect(Envelope)(yield* json(source, answer)).pipe(
          Effect.mapError(() => new SourceError({ source, reason: "answered with an unknown form" }))
        )
        if (code === 0) return data?.content
        if (absent.includes(code)) return undefined
        return yield* new SourceError({ source, reason: `answered with code ${code}${message ? `, ${message}` : ""}` })
      })

    const text = Effect.gen(function*() {
      const answer = yield* ask(
        api === "v1"
          ? HttpClientRequest.get(`${base}/v1/cs/configs`, { urlParams: { dataId, group, tenant: namespace } })
          : HttpClientRequest.get(`${base}/v3/client/cs/config`, {
            urlParams: { dataId, groupName: group, namespaceId: namespace }
          })
      )
      if (answer.status === 404) return undefined
      if (answer.status !== 200) return yield* refused(source, answer)
      return api === "v1" ? answer.text : yield* envelope(answer)
    })

    const listener = HttpClientRequest.post(`${base}/v1/cs/configs/listener`).pipe(
      HttpClientRequest.setHeader("Long-Pulling-Timeout", "30000")
    )
    const held = Effect.gen(function*() {
      const key = [dataId, group, last, ...(namespace === undefined ? [] : [namespace])].join("\x02")
      const answer = yield* ask(
        HttpClientRequest.bodyUrlParams(listener, { "Listening-Configs": `${key}\x01` }),
        "40 seconds"
      )
      return answer.status === 200 ? answer.text.trim() !== "" : yield* refused(source, answer)
    })
    const polled = Effect.delay(
      Effect.map(text, (content) => (content === undefined ? "" : md5(content)) !== last),
      interval
    )

    return {
      read: Effect.map(text, (content): ReadonlyArray<Content> => {
        last = content === undefined ? "" : md5(content)
        return content === undefined ? [] : [{ _tag: "Document", name: source, text: content }]
      }).pipe(Effect.provideService(HttpClient.HttpClient, client)),
      changed: (api === "v1" ? held : polled).pipe(
        // A server that answers at once without a change is not asked in a hurry.
        Effect.flatMap((changed) => changed ? Effect.succeed(true) : Effect.as(Effect.sleep("1 second"), false)),
        Effect.repeat({ until: (changed) => changed }),
        Effect.asVoid,
        Effect.provideService(HttpClient.HttpClient, client)
      )
    }
  })
  return { name: source, remote: true, open }
}
