import { describe, it } from "@effect/vitest"
import { run } from "./protocols.ts"

describe("mutated answers of Responses and text completions", () => {
  it.live("are answers with an end, or typed errors", () => run(2_000, 2))
})
