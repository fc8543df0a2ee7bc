/** A conversation on the terminal: each line is a turn, and the model gets all turns so far. */
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import * as Array from "effect/Array"
import * as Effect from "effect/Effect"
import * as Terminal from "effect/Terminal"

const greeting = "Talk with the model. /exit or Ctrl-D ends the conversation.\n"

/**
 * Ends at `/exit` or the end of the input. A turn that gets no answer is told in one line and is not part of what follows. `write` is for
 * what stands between the answers.
 */
export const hold = Effect.fnUntraced(function*<E extends { readonly message: string }, R>(
  ask: (messages: ChatRequest["messages"]) => Effect.Effect<string, E, R>,
  write: (text: string) => void
) {
  const terminal = yield* Terminal.Terminal
  const readLine = Effect.catchTag(terminal.readLine, "QuitError", () =>
    Effect.sync(() => {
      write("\n")
      return "/exit"
    }))
  let turns: ReadonlyArray<ChatRequest["messages"][number]> = []
  const answer = Effect.fnUntraced(function*(content: string) {
    const asked = Array.append(turns, { role: "user", content } as const)
    const text = yield* ask(asked)
    turns = [...asked, { role: "assistant", content: text }]
  })
  write(greeting)
  while (true) {
    write("\n> ")
    const line = (yield* readLine).trim()
    if (line === "/exit") return
    if (line !== "") {
      yield* Effect.catch(answer(line), (error) => Effect.sync(() => write(`ballast: ${error.message}\n`)))
    }
  }
})
