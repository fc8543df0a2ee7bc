import { describe, it } from "@effect/vitest"
import { run } from "./protocols.ts"

describe("10,000 mutated answers of Responses and text completions", () => {
  it.live("are answers with an end, or typed errors", () => run(10_000, 3), 120_000)
})
