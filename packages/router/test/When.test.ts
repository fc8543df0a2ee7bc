import type { ChatRequest } from "@ballast/chat"
import { CallContext, When } from "@ballast/router"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Result } from "effect"
import { TestClock } from "effect/testing"
import { request } from "./support.ts"

const meets = (expression: string, asked: ChatRequest.ChatRequest = request) =>
  Effect.suspend(() => Result.getOrThrow(When.make(expression))(asked))

const alice = Effect.provideService(CallContext.Current, {
  client: { name: "alice", labels: { team: "search" } },
  headers: { "x-tier": "gold" }
})

describe("When", () => {
  it.effect("sees the request", () =>
    Effect.gen(function*() {
      const tool = { type: "function", function: { name: "search" } } as const
      const asked = {
        ...request,
        tools: [tool, tool],
        thinking: { type: "disabled" },
        max_tokens: 100,
        stream: true
      } as const
      const conditions = [
        "request.model == 'deepseek-flash'",
        "request.tools == 2",
        "!request.thinking",
        "request.max_tokens <= 100",
        "request.stream && request.messages == 1 && !request.json",
        "request.size == 30"
      ]
      for (const condition of conditions) {
        assert.isTrue(yield* meets(condition, asked), condition)
        assert.isFalse(yield* meets(`!(${condition})`, asked), condition)
      }
    }))

  it.effect("sees who calls", () =>
    Effect.gen(function*() {
      assert.isTrue(yield* alice(meets("client.name == 'alice' && client.labels.team == 'search'")))
      assert.isTrue(yield* alice(meets("headers['x-tier'] == 'gold'")))
      assert.isFalse(yield* meets("client.name == 'alice'"))
    }))

  it.effect("is false where a header or a label is missing", () =>
    Effect.gen(function*() {
      assert.isFalse(yield* meets("headers['x-tier'] == 'gold'"))
      assert.isFalse(yield* meets("client.labels.team != 'search'"))
    }))

  it.effect("knows the time, in any zone", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(Date.UTC(2026, 10, 29, 15, 30))
      assert.isTrue(
        yield* meets("time.getHours() == 15 && time.getHours('Asia/Shanghai') == 23 && time.getDayOfWeek() == 0")
      )
    }))

  it("refuses what it can not compile, and says what is wrong", () => {
    const messages = [
      "request.sise > 1",
      "foo == 1",
      "request.size > 'a'",
      "request.size",
      "request.size >",
      "constructor == 1",
      `${"!".repeat(5000)}true`
    ].map((expression) =>
      Result.match(When.make(expression), { onFailure: ({ detail }) => detail, onSuccess: () => "" })
    )
    assert.deepStrictEqual(messages, [
      "No such key: sise",
      "Unknown variable: foo",
      "no such overload: int > string",
      "it gives int, and should give bool",
      "Unexpected token: EOF",
      "Unknown variable: constructor",
      "it is longer than 4096 characters"
    ])
  })
})
