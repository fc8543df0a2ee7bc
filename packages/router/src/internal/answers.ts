/** What all caches of answers have in common: which calls go past, which answers are complete, and what their keys are. */
import type { ChatChunk } from "@ballast/chat/ChatChunk"
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import * as Native from "@ballast/chat/Native"
import * as WireText from "@ballast/chat/WireText"
import * as Duration from "effect/Duration"
import type * as Fiber from "effect/Fiber"
import * as Crypto from "node:crypto"
import * as AnswerStore from "../AnswerStore.ts"
import * as RouteInfo from "../RouteInfo.ts"

/** The settings of a cache, as `AnswerCache` has them. */
interface Given {
  readonly timeToLive?: Duration.Input | undefined
  readonly staleIfError?: Duration.Input | undefined
  readonly capacity?: number | undefined
  readonly maxSize?: number | undefined
  readonly maxTemperature?: number | undefined
  readonly shared?: boolean | undefined
}

const defaults = {
  timeToLive: "5 minutes",
  staleIfError: 0,
  capacity: 1000,
  maxSize: 2 ** 18,
  maxTemperature: 1,
  shared: false
} satisfies Given

/** Checks the settings of a cache, named for the message. */
export const resolve = (name: string, given: Given) => {
  const { capacity = defaults.capacity, shared = defaults.shared, staleIfError = defaults.staleIfError } = given
  const { maxSize = defaults.maxSize, maxTemperature = defaults.maxTemperature, timeToLive = defaults.timeToLive } =
    given
  if (!(maxSize >= 1)) throw new RangeError(`${name}.make: maxSize must be at least 1, got ${maxSize}`)
  if (!(maxTemperature >= 0 && maxTemperature <= 2)) {
    throw new RangeError(`${name}.make: maxTemperature must be from 0 to 2, got ${maxTemperature}`)
  }
  // Effect takes NaN for zero.
  const lifetime = Number.isNaN(timeToLive) ? NaN : Duration.toMillis(timeToLive)
  if (!(lifetime >= 0)) throw new RangeError(`${name}.make: timeToLive must be zero or more, got ${lifetime} ms`)
  return { capacity, maxSize, maxTemperature, shared, staleIfError, timeToLive: lifetime }
}

/** Whether an answer is given whole or streamed: each form has answers of its own. */
export type Form = "whole" | "stream"

/** Items of a stream up to which it is kept. */
export const maxItems = 20_000

const ends: ReadonlySet<unknown> = new Set(["stop", "tool_calls"])

/** Whether each choice ended by itself. */
export const isComplete = (choices: ReadonlyArray<{ readonly finish_reason?: string | null }>): boolean =>
  choices.every(({ finish_reason }) => ends.has(finish_reason))

/** Whether each choice of a stream that was begun has ended as a whole answer does. */
export const isCompleteStream = (chunks: ReadonlyArray<ChatChunk>): boolean => {
  const finished = new Map<number, string | null | undefined>()
  for (const { choices } of chunks) {
    for (const { finish_reason, index } of choices) {
      const key = index ?? 0
      if (finish_reason != null || !finished.has(key)) finished.set(key, finish_reason)
    }
  }
  return finished.size > 0 &&
    isComplete(Array.from(finished.values(), (finish_reason) => ({ finish_reason: finish_reason ?? null })))
}

/** What a call may have of a cache. */
export type Use = "use" | "refresh" | "bypass"

export const useOf = (request: ChatRequest, cacheControl: string | undefined, maxTemperature: number): Use => {
  const { temperature, tool_choice } = request
  if ((temperature ?? 1) > maxTemperature) return "bypass"
  if (tool_choice === "required" || (typeof tool_choice === "object" && tool_choice !== null)) return "bypass"
  if (cacheControl === undefined) return "use"
  const directives = cacheControl.toLowerCase().split(",").map((directive) => directive.trim())
  if (directives.includes("no-store")) return "bypass"
  return directives.includes("no-cache") ? "refresh" : "use"
}

/** The key of an answer to a request: its hash is one of everything that was asked, in one form. */
export const keyOf = (request: ChatRequest, form: Form, client: string, shared: boolean): AnswerStore.Key => {
  const native = Native.of(request)
  const further = native === undefined
    ? ""
    : JSON.stringify([native.protocol, native.headers ?? {}]) + WireText.stringify(native.body)
  // In one piece: an object of Node's for the hash would cost three times as much.
  const hash = Crypto.hash("sha256", form + WireText.stringify(request) + further, "base64url")
  return { client: shared ? AnswerStore.everyone : client, model: request.model, hash }
}

const separator = "\n"
export const textOfKey = ({ client, hash, model }: AnswerStore.Key): string =>
  client + separator + model + separator + hash
export const keyOfText = (text: string): AnswerStore.Key => {
  const [client = "", model = "", hash = ""] = text.split(separator)
  return { client, model, hash }
}

/** Whether an answer is meant. A shared one is also its asker's; one under way, whose asker is not known here, is anyone's. */
export const matches = (filter: AnswerStore.Filter, key: AnswerStore.Key, asker: string | undefined): boolean => {
  const { client = key.client, hash = key.hash, model = key.model } = filter
  const isClients = client === key.client ||
    (key.client === AnswerStore.everyone && (asker === undefined || asker === client))
  return isClients && model === key.model && hash === key.hash
}

/** The latest time of what is old enough for a purge. Without an age that is all, also what was kept before the wall clock went back. */
export const purgedBefore = (now: number, olderThan: Duration.Input | undefined): number =>
  olderThan === undefined ? Infinity : now - Duration.toMillis(olderThan)

/** The record of a call that is about to be asked: the caller's, or a new one, without what a cache said before. */
export const recordOf = (fiber: Fiber.Fiber<unknown, unknown>): RouteInfo.RouteInfo => {
  const info = fiber.getRef(RouteInfo.Current) ?? RouteInfo.make()
  info.cache = undefined
  return info
}

/** Who has answered a call, as far as its record says. */
export const answeredBy = ({ model, provider }: RouteInfo.RouteInfo): RouteInfo.Cached["from"] =>
  provider === undefined || model === undefined ? undefined : { provider, model }
