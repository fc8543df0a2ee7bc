/**
 * How often an answer is given to a question that means something else, and how often it is not given though it could be, by threshold. The
 * embedding is one for tests, so the numbers say what the guard does, not what threshold is right for a model. The report stands in
 * `evaluation.txt`.
 */
import { assert, describe, expect, it } from "@effect/vitest"
import * as evaluation from "../../src/internal/evaluation.ts"
import { all } from "../../src/internal/pairs.ts"
import * as vectors from "../../src/internal/vectors.ts"
import { embed } from "./embedding.ts"

const unit = (text: string): Float32Array => vectors.normal(embed(text)) ?? new Float32Array()

const judged = all.map((pair) => evaluation.judge(pair, vectors.cosine(unit(pair.a), unit(pair.b))))

const count = (threshold: number, guarded: boolean) => evaluation.count(judged, threshold, guarded)

const wrong = (threshold: number) =>
  evaluation.wrongAt(judged, threshold).map(({ a, b, differences, kind, similarity }) =>
    `${kind} ${similarity.toFixed(2)} ${a} | ${b} ${differences.join()}`
  )

const report = (): string => {
  const same = judged.filter(({ same }) => same).length
  const row = (cells: ReadonlyArray<string | number>) => cells.map((cell) => String(cell).padStart(12)).join("")
  return [
    `${same} pairs of questions that mean the same, ${
      judged.length - same
    } that do not; a hit gives one the answer of the other.`,
    "",
    row(["", "without", "the guard", "with", "the guard"]),
    row(["threshold", "false hits", "misses", "false hits", "misses"]),
    ...[0.6, 0.7, 0.8, 0.9, 0.95, 0.99].map((threshold) => {
      const [bare, guarded] = [count(threshold, false), count(threshold, true)]
      return row([threshold, bare.falseHits, bare.misses, guarded.falseHits, guarded.misses])
    }),
    "",
    "Wrong with the guard at 0.6, with the cosine and the differences:",
    ...wrong(0.6),
    ""
  ].join("\n")
}

describe("SameMeaning", () => {
  it("keeps answers of other questions away", async () => {
    await expect(report()).toMatchFileSnapshot("./evaluation.txt")
    for (const threshold of [0.8, 0.95]) assert.strictEqual(count(threshold, true).falseHits, 0)
  })
})
