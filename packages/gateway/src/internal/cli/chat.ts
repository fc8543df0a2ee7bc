import type { ChatChunk } from "@ballast/chat/ChatChunk"
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import * as Logs from "@ballast/telemetry/Logs"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import * as Environment from "../../Environment.ts"
import * as Settings from "../../Settings.ts"
import { StartError } from "../../StartError.ts"
import * as Upstream from "../../Upstream.ts"
import * as Conversation from "./conversation.ts"
import * as Input from "./input.ts"

/** Someone is waiting at the keyboard. */
const retry = { times: 2 }

export interface Options {
  readonly prompt: ReadonlyArray<string>
  readonly model: string
  readonly system: Option.Option<string>
  readonly thinking: boolean
  readonly hideThinking: boolean
  readonly baseUrl: Option.Option<string>
}

const requestOf = (options: Options, messages: ChatRequest["messages"]): ChatRequest => ({
  model: options.model,
  messages: Option.match(options.system, {
    onNone: () => messages,
    onSome: (content): ChatRequest["messages"] => [{ role: "system", content }, ...messages]
  }),
  thinking: { type: options.thinking ? "enabled" : "disabled" }
})

/** On a terminal, what a model writes can not move the cursor or clear the screen; a pipe gets it as it is. */
const shown = (text: string, stream: NodeJS.WriteStream): string =>
  // oxlint-disable-next-line no-control-regex -- control characters are what it takes out
  stream.isTTY ? text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, "") : text

const dimmed = "\x1b[2m"
const plain = "\x1b[22m"

/** Writes what a chunk adds: the answer to standard output, thoughts dimmed beside it or, when that is piped, to standard error. */
const makeWriter = (options: Options) => {
  const thoughts = process.stdout.isTTY ? process.stdout : process.stderr
  let thinking = false
  let answer = ""
  const think = (text: string) => {
    if (!thinking && thoughts.isTTY) thoughts.write(dimmed)
    thinking = true
    thoughts.write(shown(text, thoughts))
  }
  const stopThinking = () => {
    if (thinking) thoughts.write(thoughts.isTTY ? `${plain}\n\n` : "\n\n")
    thinking = false
  }
  return {
    write: (chunk: ChatChunk): void => {
      const delta = chunk.choices[0]?.delta
      if (delta?.reasoning_content && !options.hideThinking) think(delta.reasoning_content)
      if (delta?.content) {
        stopThinking()
        answer += delta.content
        process.stdout.write(shown(delta.content, process.stdout))
      }
    },
    end: (): void => {
      stopThinking()
      process.stdout.write("\n")
    },
    answer: () => answer
  }
}

/** A reader that has seen enough (`| head`) closes the pipe: that ends the program, and is no error. */
const readerGone = Effect.callback<void>((resume) => {
  process.stdout.on("error", () => resume(Effect.void))
})

const run = Effect.fnUntraced(function*(options: Options, settings: object, prompt: Option.Option<string>) {
  const upstream = yield* Upstream.make(yield* Settings.makeValues(settings))
  if (upstream.kind() === "simulator") {
    yield* Console.error("ballast: the embedded simulator answers. Set DEEPSEEK_API_KEY to talk to DeepSeek.")
  }
  /** Streams the answer to the terminal, and succeeds with its text. */
  const ask = (messages: ChatRequest["messages"]) => {
    const writer = makeWriter(options)
    return upstream.router.stream(requestOf(options, messages)).pipe(
      Stream.runForEach((chunk) => Effect.sync(() => writer.write(chunk))),
      Effect.ensuring(Effect.sync(writer.end)),
      Effect.map(writer.answer)
    )
  }
  const talk = Option.match(prompt, {
    // Beside the answers, which may be redirected.
    onNone: () => Conversation.hold(ask, (text) => void process.stderr.write(text)),
    onSome: (content) => Effect.asVoid(ask([{ role: "user", content }]))
  })
  yield* Effect.raceFirst(talk, readerGone)
}, Effect.scoped)

/** Streams the answer to a prompt, from the arguments or a pipe, or holds a conversation on the terminal. */
export const chat = Effect.fnUntraced(function*(options: Options) {
  const fromEnv = yield* Environment.apiKey
  const baseUrl = Option.isSome(options.baseUrl)
    ? Environment.parseBaseUrl(options.baseUrl.value)
    : (yield* Environment.baseUrl) ?? Environment.defaultBaseUrl
  if (baseUrl === undefined) {
    return yield* new StartError({ detail: "--base-url is not an http or https URL, such as http://127.0.0.1:8787." })
  }
  const prompt = yield* Input.prompt(options.prompt.join(" "))
  const format = yield* Logs.format
  const level = (yield* Logs.level) ?? "Warn"
  // A gateway that is named by hand may want no key.
  const apiKey = fromEnv ?? (Option.isSome(options.baseUrl) ? Redacted.make("no-key") : undefined)
  const settings = {
    deepseek: { apiKey: apiKey && Redacted.value(apiKey), baseUrl },
    policies: { retry }
  }
  yield* run(options, settings, prompt).pipe(
    Effect.provide(Logs.layer({ level, format: format ?? "pretty" })),
    // The shell's convention for a program that Ctrl-C ended.
    Effect.onInterrupt(() => Effect.sync(() => process.exitCode = 130))
  )
})
