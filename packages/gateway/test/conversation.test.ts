import type { ChatRequest } from "@ballast/chat"
import { assert, describe, it } from "@effect/vitest"
import { Data, Effect, Terminal } from "effect"
import * as Conversation from "../src/internal/cli/conversation.ts"

class Down extends Data.TaggedError("Down") {
  override message = "The service is down."
}

/** A terminal on which somebody types these lines and then Ctrl-D. */
const typing = (...lines: ReadonlyArray<string>) => {
  const left = [...lines]
  return Terminal.make({
    columns: Effect.succeed(80),
    rows: Effect.succeed(24),
    size: Effect.die("unused"),
    readInput: Effect.die("unused"),
    readLine: Effect.suspend(() => {
      const line = left.shift()
      return line === undefined ? Effect.fail(new Terminal.QuitError({})) : Effect.succeed(line)
    }),
    display: () => Effect.void
  })
}

/** What the model was asked, each turn's text, and what was said beside the answers, when these lines were typed. */
const talk = (...lines: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const calls: Array<ReadonlyArray<unknown>> = []
    let said = ""
    const ask = (messages: ChatRequest.ChatRequest["messages"]) => {
      calls.push(messages.map(({ content }) => content))
      const last = messages.at(-1)?.content
      return last === "fail" ? Effect.fail(new Down()) : Effect.succeed(`re: ${last}`)
    }
    yield* Conversation.hold(ask, (text) => said += text).pipe(
      Effect.provideService(Terminal.Terminal, typing(...lines))
    )
    return { calls, said }
  })

describe("conversation", () => {
  it.effect("gives the model all turns so far", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual((yield* talk("one", "  two ")).calls, [["one"], ["one", "re: one", "two"]])
    }))

  it.effect("passes over empty lines, and ends at /exit", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual((yield* talk("", "one", "   ", "/exit", "two")).calls, [["one"]])
    }))

  it.effect("goes on after a turn that got no answer, as if it had not been", () =>
    Effect.gen(function*() {
      const { calls, said } = yield* talk("one", "fail", "two")
      assert.include(said, "ballast: The service is down.\n")
      assert.deepStrictEqual(calls, [
        ["one"],
        ["one", "re: one", "fail"],
        ["one", "re: one", "two"]
      ])
    }))
})
