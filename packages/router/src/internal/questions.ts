import type { ChatRequest, ContentPart } from "@ballast/chat/ChatRequest"
import * as Native from "@ballast/chat/Native"
import * as WireText from "@ballast/chat/WireText"
import { hasProperty } from "effect/Predicate"
import { createHash } from "node:crypto"
import type { Form } from "./answers.ts"

/** A request in two parts. */
export interface Question {
  /** The text of the last message. */
  readonly question: string
  /** The hash of everything else. */
  readonly rest: string
}

/** Characters of a question. */
const longest = 8_000

const isText = (part: unknown): part is ContentPart & { readonly type: "text" } =>
  hasProperty(part, "type") && part.type === "text" && hasProperty(part, "text") && typeof part.text === "string"

/** A number of so many digits may have lost some when it was read. */
const isInexact = (request: ChatRequest): boolean => /\d{16}/.test(WireText.of(request) ?? "")

/** The question of a request that ends with one. Only chats can be divided. */
export const of = (request: ChatRequest, form: Form): Question | undefined => {
  const before = request.messages.slice(0, -1)
  const last = request.messages.at(-1)
  if (last?.role !== "user" || Native.of(request) !== undefined || isInexact(request)) return undefined
  const { content } = last
  // One that is only passed on may hold anything.
  if (typeof content !== "string" && !Array.isArray(content)) return undefined
  const texts = typeof content === "string" ? [content] : content.filter(isText).map(({ text }) => text)
  const question = texts.join("\n").trim()
  if (question === "" || question.length > longest) return undefined
  const others = typeof content === "string"
    ? null
    : content.map((part) => isText(part) ? { ...part, text: "" } : part)
  const rest = { ...request, messages: [...before, { ...last, content: others }] }
  return { question, rest: createHash("sha256").update(form).update(JSON.stringify(rest)).digest("base64url") }
}
