import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { bare, on } from "./support/client.ts"
import * as Scripted from "./support/scripted.ts"

describe("paths of a version", () => {
  it.effect("stand beside a base URL of one", () =>
    Effect.gen(function*() {
      for (const version of ["", "/v1", "/beta", "/v1/"]) {
        const script = Scripted.make({ body: [JSON.stringify({ results: [], content: "" })] })
        const deepseek = yield* on(script.layer, { ...bare, baseUrl: `https://proxy.example/ds${version}` })
        yield* deepseek.search({ query: "ballast" })
        yield* deepseek.fetch({ url: "https://ships.example" })
        assert.deepStrictEqual(script.seen.map(({ url }) => url), [
          "https://proxy.example/ds/v1/tools/search",
          "https://proxy.example/ds/v1/tools/fetch"
        ])
      }
    }))
})
