import type { Event } from "@ballast/workflow/Run"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import * as View from "../src/internal/cli/workflowView.ts"

const usage = { promptTokens: 10, completionTokens: 2, cost: { CNY: "0.002" }, unpriced: 0 }
const at = { run: "r", service: "s" }
const events: ReadonlyArray<Event> = [
  { _tag: "Started", ...at, step: "a", attempt: 1, input: null },
  { _tag: "Failed", ...at, step: "a", attempt: 1, millis: 1500, reason: "busy", retryable: true, usage },
  { _tag: "Started", ...at, step: "a", attempt: 2, input: null },
  { _tag: "Succeeded", ...at, step: "a", attempt: 2, millis: 500, output: 1, usage },
  { _tag: "Skipped", run: "r", step: "b" }
]

const shown = (isTTY: boolean, rows = 24, columns = 80) =>
  Effect.gen(function*() {
    let text = ""
    const view = yield* View.make({ write: (more) => void (text += more), isTTY, rows, columns })
    for (const event of events) {
      yield* view.tell(event)
      yield* TestClock.adjust("1 second")
    }
    return text
  })

describe("the view of a run", () => {
  it.effect("is a line for each event where there is no terminal", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual((yield* shown(false)).split("\n"), [
        "… a",
        "✗ a, 1.5 s, 12 tokens, 0.002 CNY: busy",
        "… a, attempt 2",
        "✓ a, attempt 2, 0.5 s, 12 tokens, 0.002 CNY",
        "- b, skipped",
        ""
      ])
    }))

  it.effect("shows what came from outside as text", () =>
    Effect.gen(function*() {
      let text = ""
      const view = yield* View.make({ write: (more) => void (text += more), isTTY: false, rows: 24, columns: 80 })
      const question = "Pay 9000 to Evil\x1b[2K\rPay 1 to \u202eemca?"
      yield* view.tell({ _tag: "Waiting", ...at, step: "a", input: null, question, who: undefined })
      const told = { ...at, step: "a", attempt: 1, millis: 0, retryable: false, usage }
      yield* view.tell({ _tag: "Failed", ...told, reason: "\x1b]0;title\x07no" })
      assert.deepStrictEqual(text.split("\n"), [
        "? a, waits for approval: Pay 9000 to Evil Pay 1 to [U+202E]emca?",
        "✗ a, 0.0 s, 12 tokens, 0.002 CNY: no",
        ""
      ])
    }))

  it.effect("is drawn again in place on a terminal, with what all attempts used", () =>
    Effect.gen(function*() {
      const frames = (yield* shown(true)).replaceAll("\x1b", "ESC").split("ESC[J")
      assert.match(frames[1] ?? "", /^\S a, 0\.2 s\nESC\[1A$/)
      assert.strictEqual(
        frames.at(-1),
        "✓ a, attempt 2, 0.5 s, 24 tokens, 0.004 CNY\n- b, skipped\n  in all: 24 tokens, 0.004 CNY\n"
      )
      assert.isTrue(frames.slice(0, -1).every((frame) => /ESC\[\d+A$/.test(frame)))
    }))

  it.effect("fits a small terminal", () =>
    Effect.gen(function*() {
      assert.strictEqual((yield* shown(true, 3, 16)).split("\x1b[J").at(-1), "- b, skipped\n  in all: 24 t…\n")
    }))
})
