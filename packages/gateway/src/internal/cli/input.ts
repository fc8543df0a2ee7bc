/** Where the prompt of `ballast chat` comes from: its arguments, what is piped in, or both. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"
import { fstatSync } from "node:fs"
import { StartError } from "../../StartError.ts"

/** In UTF-16 units. The service takes bodies of 48 MiB; a unit takes up to three bytes. */
const longest = 16 * 1024 * 1024

/** Whether something was redirected here. `/dev/null`, the input of jobs and services, has nothing to say. */
const isPiped = (): boolean => {
  try {
    const input = fstatSync(0)
    return input.isFIFO() || input.isFile() || input.isSocket()
  } catch {
    return false // there is no standard input
  }
}

const piped = Effect.gen(function*() {
  const { stdin } = yield* Stdio.Stdio
  let text = ""
  yield* Stream.decodeText(stdin).pipe(
    Stream.runForEach((part) => {
      text += part
      return text.length > longest
        ? Effect.fail(new StartError({ detail: `Standard input is longer than ${longest} characters.` }))
        : Effect.void
    }),
    Effect.catchTag(
      "PlatformError",
      (error) => Effect.fail(new StartError({ detail: `Standard input can not be read: ${error.message}` }))
    )
  )
  return text.trim()
})

/** The prompt, with the piped text after it; none on a terminal without a prompt, where a conversation begins. */
export const prompt = Effect.fnUntraced(function*(said: string) {
  const { stdinIsTerminal } = yield* Stdio.Stdio
  if (yield* stdinIsTerminal) return said.trim() === "" ? Option.none() : Option.some(said)
  const text = isPiped() ? yield* piped : ""
  const whole = [said.trim(), text].filter((part) => part !== "").join("\n\n")
  if (whole !== "") return Option.some(whole)
  return yield* new StartError({
    detail: "There is nothing to ask. Give a prompt, as in ballast chat \"Hello\", or pipe a text in."
  })
})
