import { assert, describe, layer } from "@effect/vitest"
import { Effect } from "effect"
import { layer as gateway, raw, Running } from "./harness.ts"

/** The status and the error's code of a request with these lines in its head. */
const ask = (url: string, ...lines: ReadonlyArray<string>) =>
  Effect.map(raw(url, `GET /v1/models HTTP/1.1\r\n${[...lines, "connection: close", "", ""].join("\r\n")}`), (text) => {
    const code = /"code":"(\w+)"/.exec(text)?.[1]
    return `${text.slice(9, 12)}${code === undefined ? "" : ` ${code}`}`
  })

const settings = { allowedHosts: ["Gateway.Test"], allowedOrigins: ["https://chat.example.com", "app://notes"] }

describe("HostCheck", () => {
  layer(gateway(settings), { excludeTestServices: true })("without client keys", (it) => {
    it.effect.each(
      [
        "localhost",
        "LOCALHOST:8787",
        "127.0.0.1",
        "127.8.9.10:1",
        "[::1]",
        "[::1]:8787",
        "gateway.test",
        "GATEWAY.test:80"
      ]
    )("serves %s", (host) =>
      Effect.gen(function*() {
        const { url } = yield* Running
        assert.strictEqual(yield* ask(url, `host: ${host}`), "200")
      }))

    it.effect.each(["evil.example", "evil.example:8787", "localhost.evil.example", "10.0.0.1", "0.0.0.0", "[::2]"])(
      "refuses %s",
      (host) =>
        Effect.gen(function*() {
          const { url } = yield* Running
          assert.strictEqual(yield* ask(url, `host: ${host}`), "403 unknown_host")
        })
    )

    it.effect("says what to do", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const answer = yield* raw(url, "GET /healthz HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n")
        assert.include(answer, "BALLAST_ALLOWED_HOSTS")
        assert.include(answer, "BALLAST_CLIENT_KEYS")
      }))

    it.effect.each([
      ["HTTP://LOCALHOST:3000"],
      ["http://127.0.0.1"],
      ["http://[::1]:5173"],
      ["http://gateway.test:8787"],
      ["https://chat.example.com"],
      ["APP://notes"]
    ])("serves pages of %s", ([origin]) =>
      Effect.gen(function*() {
        const { url } = yield* Running
        assert.strictEqual(yield* ask(url, "host: gateway.test:8787", `origin: ${origin}`), "200")
      }))

    it.effect.each([
      ["https://evil.example"],
      ["http://gateway.test"],
      ["http://gateway.test:8788"],
      ["https://chat.example.com:444"],
      ["http://localhost.evil.example"],
      ["http://localhost@evil.example"],
      ["app://localhost"],
      ["null"],
      [""]
    ])("refuses pages of %j", ([origin]) =>
      Effect.gen(function*() {
        const { url } = yield* Running
        assert.strictEqual(yield* ask(url, "host: gateway.test:8787", `origin: ${origin}`), "403 unknown_origin")
      }))

    it.effect("takes the ports of the schemes for those that are left out", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        assert.strictEqual(yield* ask(url, "host: gateway.test", "origin: http://gateway.test:80"), "200")
        assert.strictEqual(yield* ask(url, "host: gateway.test:443", "origin: https://gateway.test"), "200")
      }))
  })

  layer(gateway({ ...settings, clientKeys: ["alice"] }), { excludeTestServices: true })("with client keys", (it) => {
    const key = "authorization: Bearer alice"

    it.effect("serves any name", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        assert.strictEqual(yield* ask(url, "host: evil.example", key), "200")
      }))

    it.effect("refuses pages of another origin all the same", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        assert.strictEqual(yield* ask(url, "host: a.example", "origin: https://b.example", key), "403 unknown_origin")
        assert.strictEqual(yield* ask(url, "host: a.example", "origin: https://a.example", key), "200")
      }))

    it.effect.each([
      "host: localhost\r\nHost: localhost",
      "host: a b",
      "host: a,b",
      "host: http://localhost",
      "host: localhost:port",
      "host: localhost:123456",
      "host: user@localhost",
      "host: ::1",
      "host:",
      `host: ${"a".repeat(301)}`
    ])("refuses what is broken or comes twice: %j", (lines) =>
      Effect.gen(function*() {
        const { url } = yield* Running
        assert.strictEqual(yield* ask(url, lines, key), "400 malformed_request")
      }))
  })
})
