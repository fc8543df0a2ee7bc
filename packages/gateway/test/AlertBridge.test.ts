import { AlertBridge } from "@ballast/gateway"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Layer, Redacted, Tracer } from "effect"
import { inspect } from "node:util"
import { collecting } from "../../../test/support/spans.ts"
import { layer as gateway, post, Running } from "./harness.ts"
import * as robots from "./support/robots.ts"

const alert = (status: "firing" | "resolved", name: string) => ({
  status,
  labels: { alertname: name, severity: "critical" },
  annotations: { summary: "7 % of the requests fail", runbook: "docs/operations.md#higherrorratio" }
})

const webhook = (status: "firing" | "resolved", count = 1) => ({
  version: "4",
  status,
  alerts: Array.from({ length: count }, () => alert(status, "HighErrorRatio"))
})

/** A gateway whose robots are on loopback. */
const withRobots = <A, E>(
  test: (url: string, receiver: robots.Receiver, log: Running["Service"]["log"]) => Effect.Effect<A, E>,
  options: {
    readonly answer?: object
    readonly redirect?: string
    readonly token?: string
    readonly clientKeys?: ReadonlyArray<string>
  } = {}
) =>
  Effect.scoped(Effect.gen(function*() {
    const receiver = yield* robots.receive(options.answer, options.redirect)
    const { token = "t" } = options
    const robot = (path: string) => ({ url: Redacted.make(receiver.url + path), secret: Redacted.make(robots.secret) })
    return yield* Effect.flatMap(Running, ({ log, url }) => test(url, receiver, log)).pipe(
      Effect.provide(gateway({ clientKeys: options.clientKeys ?? [] })),
      Effect.provideService(AlertBridge.Robots, {
        dingtalk: robot(`/robot/send?access_token=${token}`),
        feishu: robot(`/hook/${token}`),
        wecom: robot(`/webhook/send?key=${token}`)
      })
    )
  }))

describe("AlertBridge", () => {
  it.live("has no route for a robot that is not configured", () =>
    Effect.gen(function*() {
      const { url } = yield* Running
      assert.strictEqual((yield* post(`${url}/ops/dingtalk`, webhook("firing"))).status, 404)
    }).pipe(Effect.provide(gateway())))

  it.live("signs and shapes a message as each service asks", () =>
    withRobots((url, { received }) =>
      Effect.gen(function*() {
        for (const service of ["dingtalk", "feishu", "wecom"]) {
          assert.strictEqual((yield* post(`${url}/ops/${service}`, webhook("firing", 12))).status, 200)
        }
        const [dingtalk, feishu, wecom] = received
        assert.deepInclude(dingtalk, { path: "/robot/send", signed: true })
        assert.strictEqual(dingtalk?.query.get("access_token"), "t")
        assert.strictEqual(dingtalk?.body.msgtype, "markdown")
        assert.strictEqual(dingtalk?.body.markdown.title, "Firing: HighErrorRatio (12)")
        assert.include(dingtalk?.body.markdown.text, "7 % of the requests fail")
        assert.include(dingtalk?.body.markdown.text, "and 2 more")
        assert.deepInclude(feishu, { path: "/hook/t", signed: true })
        assert.strictEqual(feishu?.body.msg_type, "text")
        assert.include(feishu?.body.content.text, "docs/operations.md#higherrorratio")
        assert.strictEqual(wecom?.query.get("key"), "t")
        assert.isBelow(Buffer.byteLength(wecom?.body.markdown.content), 4096)
      })
    ))

  it.live("answers 502 where the service does not take the message, and tells no address", () =>
    withRobots(
      (url) =>
        Effect.gen(function*() {
          const answer = yield* post(`${url}/ops/dingtalk`, webhook("resolved"))
          assert.strictEqual(answer.status, 502)
          assert.strictEqual(answer.json.reason, "it answered 200, code 310000: sign not match")
          assert.notInclude(answer.text, "access_token")
        }),
      { answer: { errcode: 310000, errmsg: "sign not match" } }
    ))

  it.live("shows no token where the service repeats it, nor on spans", () => {
    const { spans, tracer } = collecting()
    return withRobots(
      (url, _, log) =>
        Effect.gen(function*() {
          for (const service of ["dingtalk", "feishu", "wecom"]) {
            const { json } = yield* post(`${url}/ops/${service}`, webhook("firing"))
            assert.strictEqual(json.reason, "it answered 200, code 40058: no **** of ****")
          }
          const shown = spans.map(({ attributes, name, status }) => [name, [...attributes], status])
          const text = inspect([shown, log], { depth: 9, maxArrayLength: null })
          assert.include(text, "POST /ops/dingtalk")
          assert.include(text, "alert not passed on")
          assert.notInclude(text, "token-of-")
        }),
      { answer: { errcode: 40058, errmsg: `no token-of-the-robot of ${robots.secret}` }, token: "token-of-the-robot" }
    ).pipe(Effect.provideService(Tracer.Tracer, tracer))
  })

  it.live("follows no redirect", () =>
    Effect.gen(function*() {
      const other = yield* robots.receive()
      yield* withRobots(
        (url) =>
          Effect.gen(function*() {
            const { json } = yield* post(`${url}/ops/wecom`, webhook("firing"))
            assert.strictEqual(json.reason, "it answered 307, code 0")
          }),
        { answer: { errcode: 0 }, redirect: other.url }
      )
      assert.lengthOf(other.received, 0)
    }).pipe(Effect.scoped))

  it.live("refuses what is no webhook, and who has no key", () =>
    withRobots(
      (url, { received }) =>
        Effect.gen(function*() {
          const key = { authorization: "Bearer key-of-alertmanager" }
          assert.strictEqual((yield* post(`${url}/ops/dingtalk`, webhook("firing"))).status, 401)
          assert.strictEqual((yield* post(`${url}/ops/dingtalk`, { alerts: "none" }, key)).status, 400)
          assert.strictEqual((yield* post(`${url}/ops/dingtalk`, webhook("firing"), key)).status, 200)
          assert.lengthOf(received, 1)
        }),
      { clientKeys: ["key-of-alertmanager"] }
    ))

  it.effect("reads the robots from the environment", () =>
    Effect.gen(function*() {
      const of = (env: Record<string, string>) =>
        Effect.provide(
          Effect.service(AlertBridge.Robots),
          AlertBridge.layerConfig.pipe(Layer.provide(ConfigProvider.layer(ConfigProvider.fromEnv({ env }))))
        )
      const { dingtalk, wecom } = yield* of({
        BALLAST_DINGTALK_URL: "https://x.invalid/y",
        BALLAST_DINGTALK_SECRET: "SEC"
      })
      assert.strictEqual(Redacted.value(dingtalk!.url), "https://x.invalid/y")
      assert.strictEqual(Redacted.value(dingtalk!.secret!), "SEC")
      assert.isUndefined(wecom)
      for (const url of ["hidden", "localhost:80/hidden"]) {
        const { message } = yield* Effect.flip(of({ BALLAST_WECOM_URL: url }))
        assert.include(message, "BALLAST_WECOM_URL is no http or https URL")
        assert.notInclude(message, "hidden")
      }
      const alone = yield* Effect.flip(of({ BALLAST_FEISHU_SECRET: "hidden" }))
      assert.include(alone.message, "BALLAST_FEISHU_SECRET is set, and BALLAST_FEISHU_URL")
    }))
})
