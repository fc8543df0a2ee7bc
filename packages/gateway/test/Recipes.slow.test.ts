/** Each recipe of docs/routing.md, with services in this process in place of DeepSeek and Ark. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { snippetsOf } from "../../../test/support/snippets.ts"
import { type Answer, eventually, hello, post } from "./harness.ts"
import { run } from "./program.ts"
import { gateway, load, provided, type Seen, service } from "./support/hosts.ts"

const file = "docs/routing.md"
const snippets = snippetsOf(file)

/** The YAML that has all of these words. */
const recipe = (...words: ReadonlyArray<string>) => {
  const found = snippets.filter(({ code, language }) =>
    language === "yaml" && words.every((word) => code.includes(word))
  )
  assert.lengthOf(found, 1, words.join())
  return found[0]!.code
}

/** The lines of `ballast admin` in the snippet that has these words, without comments. */
const commands = (words: string) => {
  const found = snippets.find(({ code, language }) => language === "sh" && code.includes(words))
  return (found?.code ?? "").trim().split("\n").map((line) => line.replace(/\s+#.*$/, ""))
}

const admin = "admin: { keys: { alice: [ admin-of-alice ] } }"

/** A gateway as the recipe has it, whose providers are services here. */
const start = Effect.fnUntraced(function*(yaml: string, urls: Readonly<Record<string, string>>) {
  let text = yaml.replace("${env:DEEPSEEK_API_KEY}", "sk-main").replace("${env:ARK_KEY}", "ark-key")
  for (const [type, url] of Object.entries(urls)) {
    text = text.replace(
      `type: ${type}`,
      (found) => text.includes(`{ ${found}`) ? `${found}, baseUrl: "${url}"` : `${found}\n    baseUrl: "${url}"`
    )
  }
  const { serve, write } = yield* gateway(`listen: { port: 0 }\n${admin}\npolicies: { retry: { times: 0 } }\n${text}`)
  return {
    write,
    serve: Effect.map(serve, ({ port }) => {
      const url = `http://127.0.0.1:${port}`
      const env = { BALLAST_ADMIN_URL: url, BALLAST_ADMIN_KEY: "admin-of-alice" }
      return {
        chat: (body: object = {}) => post(`${url}/v1/chat/completions`, { ...hello, ...body }),
        /** Runs a line of the document. */
        shell: (line: string) => {
          const [, ...args] = line.match(/"[^"]*"|\S+/g) ?? []
          return Effect.map(
            Effect.scoped(run(args.map((arg) => arg.replaceAll("\"", "")), env)),
            ({ code, stderr, stdout }) => code === 0 ? stdout : stderr
          )
        }
      }
    })
  }
})

const hosts = Effect.gen(function*() {
  const asked: Array<Seen & { readonly host: string }> = []
  const broken = new Map<string, number>()
  const host = (name: string) =>
    service((seen) => {
      asked.push({ ...seen, host: name })
      return broken.get(name) ?? broken.get(seen.key) ?? 200
    })
  return { asked, broken, urls: { deepseek: yield* host("deepseek"), ark: yield* host("ark") } }
})

const contentOf = ({ json }: Answer): string => json.choices[0].message.content

describe(`recipes of ${file}`, { timeout: 120_000 }, () => {
  it.live("two accounts: two calls of three go to the second", () =>
    Effect.gen(function*() {
      const { asked, urls } = yield* hosts
      const { serve, write } = yield* start(recipe("second.key"), urls)
      yield* write("second.key", "sk-second\n")
      const { chat } = yield* serve
      const calls = 300
      yield* Effect.forEach(
        Array.from({ length: calls }, (_, n) => n),
        (n) => chat({ messages: [{ role: "user", content: `Conversation ${n}` }] }),
        { concurrency: 20 }
      )
      const second = asked.filter(({ key }) => key === "sk-second").length
      assert.closeTo(second, 200, 5 * Math.sqrt(calls * 2 / 9))
    }).pipe(Effect.scoped, provided))

  it.live("the same model at another host: it answers when the first can't", () =>
    Effect.gen(function*() {
      const { asked, broken, urls } = yield* hosts
      const { chat } = yield* (yield* start(recipe("ep-20260101-abcde", "failover"), urls)).serve
      yield* chat()
      broken.set("deepseek", 503)
      const answer = yield* chat()
      assert.deepStrictEqual([answer.status, answer.headers.get("x-ballast-provider")], [200, "ark"])
      assert.deepStrictEqual(asked.map(({ host, key, model }) => [host, key, model]), [
        ["deepseek", "sk-main", "deepseek-flash"],
        ["deepseek", "sk-main", "deepseek-flash"],
        ["ark", "ark-key", "ep-20260101-abcde"]
      ])
    }).pipe(Effect.scoped, provided))

  it.live("a trial: 5 % of the users get the other model, again and again", () =>
    Effect.gen(function*() {
      const { urls } = yield* hosts
      const { chat } = yield* (yield* start(recipe("pro-trial"), urls)).serve
      const arms = Effect.forEach(
        Array.from({ length: 200 }, (_, n) => `user-${n}`),
        (user) => Effect.map(chat({ user }), ({ headers }) => headers.get("x-ballast-arm")),
        { concurrency: 20 }
      )
      const first = yield* arms
      assert.deepStrictEqual(yield* arms, first)
      assert.closeTo(first.filter((arm) => arm === "pro-trial").length, 10, 5 * Math.sqrt(200 * 0.05 * 0.95))
    }).pipe(Effect.scoped, provided))

  it.live("rotate a key: the next one takes over when the first is revoked, and no call is lost", () =>
    Effect.gen(function*() {
      const { asked, broken, urls } = yield* hosts
      const { serve, write } = yield* start(recipe("deepseek-next.key"), urls)
      yield* write("deepseek.key", "sk-now\n")
      yield* write("deepseek-next.key", "sk-next\n")
      const { chat } = yield* serve
      const calls = yield* load(20, chat())
      const seen = (key: string) => Effect.sync(() => asked.filter((one) => one.key === key).length > 60)
      yield* eventually(seen("sk-now"))
      broken.set("sk-now", 401)
      yield* eventually(seen("sk-next"))
      yield* calls.stop
      assert.deepStrictEqual(calls.answers.filter(({ status }) => status !== 200), [])
    }).pipe(Effect.scoped, provided))

  it.live("drain before maintenance: no new calls, those under way end, and undo gives it back", () =>
    Effect.gen(function*() {
      const { asked, urls } = yield* hosts
      const { chat, shell } = yield* (yield* start(recipe("arm: ark"), urls)).serve
      const [drain = "", routes = "", undo = ""] = commands("ballast admin drain")
      const calls = yield* load(10, chat())
      const countOf = (host: string) => asked.filter((one) => one.host === host).length
      yield* eventually(Effect.sync(() => countOf("ark") > 10))
      assert.match(yield* shell(drain), /^1: drain ark of deepseek-flash, in force until /)
      yield* eventually(Effect.map(shell(routes), (text) => / ark +0 +0 .* drained /.test(text)))
      const drained = countOf("ark")
      const others = countOf("deepseek")
      yield* eventually(Effect.sync(() => countOf("deepseek") > others + 50))
      assert.strictEqual(countOf("ark"), drained)
      assert.match(yield* shell(undo), /^1: drain ark of deepseek-flash, undone at .* by alice\n$/)
      yield* eventually(Effect.sync(() => countOf("ark") > drained + 10))
      yield* calls.stop
      assert.deepStrictEqual(calls.answers.filter(({ status }) => status !== 200), [])
    }).pipe(Effect.scoped, provided))

  it.live("degrade by hand: another model or a text answers, until it is undone", () =>
    Effect.gen(function*() {
      const { asked, urls } = yield* hosts
      const { chat, shell } =
        yield* (yield* start(recipe("deepseek-v4-pro: { targets: [ { provider: deepseek } ] }"), urls)).serve
      const [degrade = "", undo = "", text = ""] = commands("ballast admin degrade")
      const pro = { model: "deepseek-v4-pro" }
      yield* shell(degrade)
      yield* chat(pro)
      assert.match(yield* shell(undo), /^1: degrade deepseek-v4-pro to deepseek-flash, undone /)
      yield* chat(pro)
      yield* shell(text)
      assert.strictEqual(contentOf(yield* chat(pro)), "Back at noon.")
      assert.deepStrictEqual(asked.map(({ model }) => model), ["deepseek-flash", "deepseek-v4-pro"])
    }).pipe(Effect.scoped, provided))
})
