/**
 * Settings from one namespace of Apollo. Keys of a properties namespace are paths: `retry.times` is `times` in the section `retry`.
 * A namespace whose name ends in `.yaml`, `.yml` or `.json` holds one text. The server holds the question for changes for up to 60
 * seconds. With an access key every request is signed.
 *
 * Written after the documented protocol and tested against a server of that protocol, not against a real Apollo.
 * https://www.apolloconfig.com/#/en/client/other-language-client-user-guide
 */
import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { createHmac } from "node:crypto"
import { fail, json, refused, send } from "./internal/http.ts"
import { type Content, type Source, SourceError } from "./Source.ts"

/**
 * Which namespace of which Apollo.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Address of the config service, such as `http://127.0.0.1:8080`. */
  readonly url: string
  readonly appId: string
  /** Default: `default`. */
  readonly cluster?: string | undefined
  /** Default: `application`. */
  readonly namespace?: string | undefined
  /** The access key of the app. Default: requests are not signed. */
  readonly accessKey?: Redacted.Redacted<string> | undefined
}

const Release = Schema.Struct({
  configurations: Schema.Record(Schema.String, Schema.String),
  releaseKey: Schema.String
})
const Notifications = Schema.Array(Schema.Struct({
  notificationId: Schema.Finite,
  messages: Schema.optional(Schema.NullOr(Schema.Unknown))
}))

const contentsOf = (
  namespace: string,
  source: string,
  configurations: Record<string, string>
): ReadonlyArray<Content> =>
  /\.(ya?ml|json)$/.test(namespace)
    ? [{ _tag: "Document", name: source, text: configurations.content ?? "" }]
    : [{
      _tag: "Entries",
      entries: Object.entries(configurations).map(([key, value]) => ({
        path: key.split("."),
        value,
        name: `${source} key ${key}`,
        text: true
      }))
    }]

/**
 * Settings from a namespace of Apollo. A namespace without a release at the start is empty.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options): Source<HttpClient.HttpClient> => {
  const { accessKey, appId, cluster = "default", namespace = "application" } = options
  const source = `apollo ${appId}/${namespace}`
  const address = (path: string, query: Record<string, string>) =>
    Effect.suspend(() => {
      const url = URL.parse(`${options.url.replace(/\/+$/, "")}${path}`)
      if (url === null) return fail(source, "cannot be reached (ERR_INVALID_URL)")
      url.search = new URLSearchParams(query).toString()
      return Effect.succeed(url)
    })

  /** The signature is over the time and the path with its query as sent. */
  const ask = (url: URL, time?: Duration.Input) =>
    Effect.gen(function*() {
      const request = HttpClientRequest.get(url)
      if (accessKey === undefined) return yield* send(source, request, time)
      const now = yield* Clock.currentTimeMillis
      const signature = createHmac("sha1", Redacted.value(accessKey)).update(`${now}\n${url.pathname}${url.search}`)
        .digest("base64")
      const signed = HttpClientRequest.setHeaders(request, {
        Timestamp: `${now}`,
        Authorization: `Apollo ${appId}:${signature}`
      })
      return yield* send(source, signed, time)
    })
  const decode = <A>(schema: Schema.Decoder<A>, value: unknown) =>
    Effect.mapError(
      Schema.decodeUnknownEffect(schema)(value),
      () => new SourceError({ source, reason: "answered with an unknown form" })
    )

  const open = Effect.fnUntraced(function*() {
    const client = yield* HttpClient.HttpClient
    let id = -1
    let messages: unknown
    let release: { readonly key: string; readonly contents: ReadonlyArray<Content> } | undefined

    const read = Effect.gen(function*() {
      const path = ["/configs", appId, cluster, namespace].map((part, i) => i === 0 ? part : encodeURIComponent(part))
        .join("/")
      const answer = yield* ask(
        yield* address(path, {
          ...(release === undefined ? {} : { releaseKey: release.key }),
          // A server that caches answers with the old release unless it is told what is known of the new one.
          ...(messages === undefined || messages === null ? {} : { messages: JSON.stringify(messages) })
        })
      )
      if (answer.status === 304 && release !== undefined) return release.contents
      if (answer.status === 404) {
        release = undefined
        return []
      }
      if (answer.status !== 200) return yield* refused(source, answer)
      const { configurations, releaseKey } = yield* decode(Release, yield* json(source, answer))
      const contents = contentsOf(namespace, source, configurations)
      release = { key: releaseKey, contents }
      return contents
    })

    const notified = Effect.gen(function*() {
      const notifications = JSON.stringify([{ namespaceName: namespace, notificationId: id }])
      const answer = yield* ask(yield* address("/notifications/v2", { appId, cluster, notifications }), "90 seconds")
      if (answer.status === 304) return false
      if (answer.status !== 200) return yield* refused(source, answer)
      const [notification] = yield* decode(Notifications, yield* json(source, answer))
      if (notification === undefined) return false
      id = notification.notificationId
      messages = notification.messages
      return true
    })

    return {
      read: Effect.provideService(read, HttpClient.HttpClient, client),
      changed: notified.pipe(
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
