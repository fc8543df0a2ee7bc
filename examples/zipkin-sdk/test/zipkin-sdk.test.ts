import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { createServer, type Server } from "node:http"
import type { AddressInfo } from "node:net"
import { ask } from "../src/ask.ts"
import * as Tracing from "../src/Tracing.ts"

interface ZipkinSpan {
  readonly traceId: string
  readonly id: string
  readonly parentId?: string
  readonly name: string
  readonly kind?: string
  readonly localEndpoint: { readonly serviceName: string }
  readonly tags: Readonly<Record<string, string>>
}

/** A Zipkin that keeps what it is sent. */
const zipkin = Effect.gen(function*() {
  const spans: Array<ZipkinSpan> = []
  const server = yield* Effect.acquireRelease(
    Effect.callback<Server>((resume) => {
      const server = createServer((request, response) => {
        let text = ""
        request.setEncoding("utf8").on("data", (part: string) => text += part)
        request.on("end", () => {
          if (request.url === "/api/v2/spans") spans.push(...JSON.parse(text))
          response.writeHead(202).end()
        })
      })
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
    }),
    (server) =>
      Effect.sync(() => {
        server.closeAllConnections()
        server.close()
      })
  )
  return { spans, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/api/v2/spans` }
})

describe("Zipkin by the SDK", () => {
  it.live("gets the spans of a call as one tree", () =>
    Effect.gen(function*() {
      const { spans, url } = yield* zipkin
      yield* Effect.provide(ask("Hello"), Tracing.layer(url))
      const named = (name: string) => spans.find((span) => span.name === name)
      const [asked, call, attempt] = [named("ask"), named("chat deepseek-flash"), named("POST /chat/completions")]
      assert.lengthOf(spans, 3)
      assert.isUndefined(asked?.parentId)
      assert.strictEqual(call?.parentId, asked?.id)
      assert.strictEqual(attempt?.parentId, call?.id)
      assert.lengthOf([...new Set(spans.map(({ traceId }) => traceId))], 1)
      assert.deepInclude(call, { kind: "CLIENT", localEndpoint: { serviceName: "shop" } })
      assert.strictEqual(call?.tags["gen_ai.request.model"], "deepseek-flash")
    }))
})
