/**
 * Nacos as its HTTP API documents it: reading and long polling of v1, reading of v3, login.
 */
import { Effect } from "effect"
import { createHash } from "node:crypto"
import { type Answered, type Asked, make as makeExchange } from "./exchange.ts"

const md5 = (text: string | undefined) => text === undefined ? "" : createHash("md5").update(text).digest("hex")

export const make = (options: { readonly password?: string; readonly noV1?: boolean } = {}) => {
  const texts = new Map<string, string>()
  let token = "t1"
  const keyOf = (dataId: string | null, group: string | null, tenant: string | null) =>
    [dataId, group, tenant ?? ""].join("/")

  const changedKeys = (listening: string) =>
    listening.split("\x01").filter((item) => item !== "").flatMap((item) => {
      const [dataId = "", group = "", sum = "", tenant] = item.split("\x02")
      return md5(texts.get(keyOf(dataId, group, tenant ?? null))) === sum
        ? []
        : [[dataId, group, ...(tenant === undefined ? [] : [tenant])].join("\x02") + "\x01"]
    })

  /** The server holds for the header's time less half a second, and at least ten seconds. */
  const listen = ({ form, headers }: Asked): Effect.Effect<Answered | undefined> =>
    Effect.gen(function*() {
      const listening = form.get("Listening-Configs") ?? ""
      const changed = changedKeys(listening)
      const time = Math.max(10_000, Number(headers["long-pulling-timeout"]) - 500)
      if (changed.length === 0) {
        const why = yield* server.hold(time)
        if (why === "broken") return undefined
      }
      return { status: 200, body: encodeURIComponent(changedKeys(listening).join("")) }
    })

  const server = makeExchange((asked) => {
    const { form, method, url } = asked
    const query = url.searchParams
    const route = `${method} ${url.pathname}`
    if (route.endsWith("/login")) {
      return Effect.succeed(
        form.get("password") === options.password
          ? { status: 200, body: JSON.stringify({ accessToken: token, tokenTtl: 18000, globalAdmin: true }) }
          : { status: 403, body: "unknown user!" }
      )
    }
    if (options.noV1 === true && url.pathname.startsWith("/nacos/v1")) return Effect.succeed({ status: 404 })
    if (options.password !== undefined && query.get("accessToken") !== token) {
      return Effect.succeed({ status: 403, body: "token invalid!" })
    }
    switch (route) {
      case "GET /nacos/v1/cs/configs": {
        const text = texts.get(keyOf(query.get("dataId"), query.get("group"), query.get("tenant")))
        return Effect.succeed(
          text === undefined ? { status: 404, body: "config data not exist" } : { status: 200, body: text }
        )
      }
      case "POST /nacos/v1/cs/configs/listener":
        return listen(asked)
      case "GET /nacos/v3/client/cs/config": {
        const text = texts.get(keyOf(query.get("dataId"), query.get("groupName"), query.get("namespaceId")))
        return Effect.succeed(
          text === undefined
            ? { status: 404, body: JSON.stringify({ code: 20004, message: "resource not found", data: null }) }
            : {
              status: 200,
              body: JSON.stringify({ code: 0, message: "success", data: { content: text, md5: md5(text) } })
            }
        )
      }
    }
    return Effect.succeed({ status: 404 })
  })
  return {
    ...server,
    expireTokens: Effect.sync(() => token += "+"),
    publish: (dataId: string, text: string, tenant?: string) =>
      Effect.andThen(
        Effect.sync(() => texts.set(keyOf(dataId, "DEFAULT_GROUP", tenant ?? null), text)),
        server.changed
      ),
    remove: (dataId: string) =>
      Effect.andThen(Effect.sync(() => texts.delete(keyOf(dataId, "DEFAULT_GROUP", null))), server.changed)
  }
}
