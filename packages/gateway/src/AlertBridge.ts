/**
 * Passes Alertmanager's webhooks on to chat robots: `POST /ops/dingtalk`, `/ops/feishu`, `/ops/wecom`.
 *
 * A robot that is not configured has no route. Each message is signed as its service asks, where the robot has a secret. When the service
 * does not take it, the answer is 502, so that Alertmanager sends it again. With client keys, the routes need one like any other.
 *
 * | variable | what |
 * |---|---|
 * | `BALLAST_DINGTALK_URL`, `BALLAST_DINGTALK_SECRET` | a DingTalk robot's webhook, and its secret (`SEC…`) |
 * | `BALLAST_FEISHU_URL`, `BALLAST_FEISHU_SECRET` | a Feishu or Lark robot's |
 * | `BALLAST_WECOM_URL` | a WeCom robot's; it is not signed |
 *
 * @see {@link https://prometheus.io/docs/alerting/latest/configuration/#webhook_config}
 * @see {@link https://open.dingtalk.com/document/robots/customize-robot-security-settings}
 * @see {@link https://open.feishu.cn/document/client-docs/bot-v3/add-custom-bot}
 * @see {@link https://developer.work.weixin.qq.com/document/path/91770}
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { constTrue } from "effect/Function"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { createHmac } from "node:crypto"
import type { Bodies } from "./Body.ts"
import { Rejection } from "./Rejection.ts"
import type * as Routes from "./Routes.ts"

/**
 * A chat robot. Its address is a secret too: who knows it can write.
 *
 * @category models
 * @since 0.1.0
 */
export interface Robot {
  readonly url: Redacted.Redacted
  readonly secret: Redacted.Redacted | undefined
}

/**
 * The services that are known.
 *
 * @category models
 * @since 0.1.0
 */
export type Service = "dingtalk" | "feishu" | "wecom"

/**
 * The robots at hand. Default none.
 *
 * @category references
 * @since 0.1.0
 */
export const Robots: Context.Reference<{ readonly [S in Service]?: Robot | undefined }> = Context.Reference(
  "@ballast/gateway/AlertBridge/Robots",
  { defaultValue: () => ({}) }
)

const wrong = (message: string) => Effect.fail(new Config.ConfigError(new ConfigProvider.SourceError({ message })))

const robot = (name: string): Config.Config<Robot | undefined> =>
  Config.all({
    text: Config.option(Config.Redacted(`BALLAST_${name}_URL`)),
    secret: Config.option(Config.Redacted(`BALLAST_${name}_SECRET`))
  }).pipe(Config.mapEffect(({ secret, text }) => {
    if (Option.isNone(text)) {
      return Option.isNone(secret)
        ? Effect.undefined
        : wrong(`BALLAST_${name}_SECRET is set, and BALLAST_${name}_URL, the address of the robot, is not.`)
    }
    const url = URL.parse(Redacted.value(text.value))
    // Not shown: who knows the address can write.
    if (url === null || !/^https?:$/.test(url.protocol)) return wrong(`BALLAST_${name}_URL is no http or https URL.`)
    return Effect.succeed<Robot>({ url: Redacted.make(String(url)), secret: Option.getOrUndefined(secret) })
  }))

/**
 * The robots from the environment. Fails when an address is not a URL, or a secret has none.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig: Layer.Layer<never, Config.ConfigError> = Layer.effect(
  Robots,
  Config.all({ dingtalk: robot("DINGTALK"), feishu: robot("FEISHU"), wecom: robot("WECOM") })
)

const Texts = Schema.optionalKey(Schema.Record(Schema.String, Schema.String))

const Webhook = Schema.Struct({
  status: Schema.String,
  alerts: Schema.Array(Schema.Struct({ status: Schema.String, labels: Texts, annotations: Texts }))
})

type Webhook = typeof Webhook.Type

const decode = Schema.decodeUnknownOption(Webhook)

/** A message has room for these; the rest is counted. */
const limits = { alerts: 10, text: 300 }

const linesOf = ({ alerts }: Webhook): ReadonlyArray<string> => {
  const lines = alerts.slice(0, limits.alerts).flatMap(({ annotations = {}, labels = {}, status }) => {
    const { runbook = "", summary = "" } = annotations
    return [
      `**${status === "resolved" ? "Resolved" : "Firing"}: ${labels["alertname"] ?? "alert"}** (${
        labels["severity"] ?? "none"
      }) ${summary.slice(0, limits.text)}`,
      ...(runbook === "" ? [] : [runbook.slice(0, limits.text)])
    ]
  })
  const more = alerts.length - limits.alerts
  return more > 0 ? [...lines, `and ${more} more`] : lines
}

const titleOf = ({ alerts, status }: Webhook): string => {
  const name = alerts[0]?.labels?.["alertname"] ?? "alerts"
  return `${status === "resolved" ? "Resolved" : "Firing"}: ${name}${alerts.length > 1 ? ` (${alerts.length})` : ""}`
}

const hmac = (key: string, text: string): string => createHmac("sha256", key).update(text).digest("base64")

interface Message {
  readonly url: string
  readonly body: unknown
}

const messages: {
  readonly [S in Service]: (webhook: Webhook, url: URL, secret: string | undefined, millis: number) => Message
} = {
  dingtalk: (webhook, url, secret, millis) => {
    if (secret !== undefined) {
      url.searchParams.set("timestamp", String(millis))
      url.searchParams.set("sign", hmac(secret, `${millis}\n${secret}`))
    }
    const title = titleOf(webhook)
    return {
      url: String(url),
      body: { msgtype: "markdown", markdown: { title, text: `### ${title}\n\n${linesOf(webhook).join("\n\n")}` } }
    }
  },
  feishu: (webhook, url, secret, millis) => {
    const timestamp = String(Math.floor(millis / 1000))
    return {
      url: String(url),
      body: {
        ...(secret !== undefined && { timestamp, sign: hmac(`${timestamp}\n${secret}`, "") }),
        msg_type: "text",
        content: { text: [titleOf(webhook), ...linesOf(webhook)].join("\n").replaceAll("**", "") }
      }
    }
  },
  wecom: (webhook, url) => ({
    url: String(url),
    // At most 4,096 bytes.
    body: {
      msgtype: "markdown",
      markdown: { content: [`### ${titleOf(webhook)}`, ...linesOf(webhook)].join("\n").slice(0, 1_300) }
    }
  })
}

/** What the services answer: `errcode` and `errmsg` (DingTalk, WeCom) or `code` and `msg` (Feishu); zero when the message was taken. */
const Answer = Schema.Struct({
  errcode: Schema.optionalKey(Schema.Number),
  errmsg: Schema.optionalKey(Schema.String),
  code: Schema.optionalKey(Schema.Number),
  msg: Schema.optionalKey(Schema.String)
})

/** Why an answer is a refusal; undefined when the message was taken. */
const refusalOf = (status: number, json: unknown): string | undefined => {
  const answer = Option.getOrElse(Schema.decodeUnknownOption(Answer)(json), (): typeof Answer.Type => ({ code: -1 }))
  const code = answer.errcode ?? answer.code ?? 0
  if (status === 200 && code === 0) return undefined
  const text = answer.errmsg ?? answer.msg ?? ""
  return `it answered ${status}, code ${code}${text && `: ${text}`}`
}

/** What a robot's services say, without the parts of its address that may be a token, which they repeat. */
const withoutSecrets = (text: string, { secret, url: address }: Robot): string => {
  const url = new URL(Redacted.value(address))
  const parts = [url.password, ...url.pathname.split("/"), ...url.searchParams.values()]
  return [...parts, secret === undefined ? "" : Redacted.value(secret)]
    .filter((part) => part.length >= shortestToken)
    .sort((a, b) => b.length - a.length)
    .reduce((text, part) => text.replaceAll(part, "****"), text)
}

/** Words of the services' paths are shorter, or tell nothing. */
const shortestToken = 8

const malformed = new Rejection({ case: "MalformedRequest", detail: "This is not a webhook of Alertmanager." })

const json = (body: unknown, status: number) => HttpServerResponse.jsonUnsafe(body, { status })

const send = (client: HttpClient.HttpClient, { body, url }: Message) =>
  client.execute(HttpClientRequest.bodyJsonUnsafe(HttpClientRequest.post(url), body)).pipe(
    Effect.flatMap(({ json, status }) =>
      Effect.map(Effect.orElseSucceed(json, () => undefined), (json) => ({ status, json }))
    ),
    Effect.timeout("10 seconds"),
    Effect.map(({ json, status }) => refusalOf(status, json)),
    // The address is a secret, and stands in the messages of errors and on spans.
    Effect.catch(() => Effect.succeed("it did not answer")),
    Effect.provideService(HttpClient.TracerDisabledWhen, constTrue),
    Effect.provideService(FetchHttpClient.RequestInit, { redirect: "manual" })
  )

const handler =
  (service: Service, robot: Robot, bodies: Bodies, client: HttpClient.HttpClient): Routes.Handler => (_, request) =>
    Effect.gen(function*() {
      const webhook = decode((yield* bodies.read(request)).json)
      if (Option.isNone(webhook)) return yield* malformed
      const millis = yield* Clock.currentTimeMillis
      const { secret, url } = robot
      const message = messages[service](
        webhook.value,
        new URL(Redacted.value(url)),
        secret && Redacted.value(secret),
        millis
      )
      const refusal = yield* send(client, message)
      if (refusal === undefined) return json({ status: "sent" }, 200)
      const reason = withoutSecrets(refusal, robot).slice(0, limits.text)
      yield* Effect.logWarning("alert not passed on", { service, reason })
      return json({ status: "refused", reason }, 502)
    })

const services: ReadonlyArray<Service> = ["dingtalk", "feishu", "wecom"]

/**
 * The routes of the robots at hand.
 *
 * @category constructors
 * @since 0.1.0
 */
export const routes = (bodies: Bodies): Effect.Effect<ReadonlyArray<Routes.Route>> =>
  Effect.gen(function*() {
    const robots = yield* Robots
    const client = yield* HttpClient.HttpClient
    return services.flatMap((service): ReadonlyArray<Routes.Route> => {
      const robot = robots[service]
      if (robot === undefined) return []
      return [{ path: `/ops/${service}`, methods: { POST: handler(service, robot, bodies, client) } }]
    })
  }).pipe(Effect.provide(FetchHttpClient.layer))
