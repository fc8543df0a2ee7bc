import type { ChatRequest } from "@ballast/chat/ChatRequest"
import type * as Native from "@ballast/chat/Native"
import * as WireText from "@ballast/chat/WireText"
import * as HttpBody from "effect/http/HttpBody"
import { hasProperty } from "effect/Predicate"

/** The body that asks for a whole answer. The request's own text is sent where nothing in it has to change. */
export const whole = (request: ChatRequest): HttpBody.HttpBody => {
  const asIs = request.stream !== true && !Object.hasOwn(request, "stream_options")
  const text = asIs ? WireText.of(request) : undefined
  if (text !== undefined) return jsonBody(text)
  const { stream_options: _, ...rest } = request
  // A body that is as large as the service takes has no room for what says nothing.
  return jsonBody(JSON.stringify(rest.stream === true ? { ...rest, stream: false } : rest))
}

/** A body, and whether it asks for usage where the request does not. */
export interface Streamed {
  readonly body: HttpBody.Uint8Array
  readonly asksForUsage: boolean
}

/** The largest body that the service takes. */
const maxBytes = 48 * 1024 * 1024

/**
 * The body that asks for a stream, and for its usage unless the caller says otherwise, the service does not know how, or there is no room
 * for that.
 */
export const streamed = (request: ChatRequest, takesUsage: boolean): Streamed => {
  if (request.stream_options != null || !takesUsage) return { body: streaming(request, false), asksForUsage: false }
  const body = streaming(request, true)
  return body.contentLength > maxBytes
    ? { body: streaming(request, false), asksForUsage: false }
    : { body, asksForUsage: true }
}

const streaming = (request: ChatRequest, asksForUsage: boolean): HttpBody.Uint8Array => {
  const more = asksForUsage ? { stream_options: { include_usage: true } } : {}
  const added = request.stream === true ? more : { stream: true, ...more }
  return jsonBody(inserted(request, added) ?? JSON.stringify({ ...request, stream: true, ...more }))
}

/** The request's own text with fields added that it does not have; nothing where it has no text, or has one of the fields. */
const inserted = (request: ChatRequest, fields: object): string | undefined => {
  const text = WireText.of(request)
  const names = Object.keys(fields)
  if (text === undefined || names.length === 0) return text
  if (names.some((name) => Object.hasOwn(request, name))) return undefined
  const end = text.lastIndexOf("}")
  // The text is that of an object that has a model at least, so the fields come after others.
  return `${text.slice(0, end)},${JSON.stringify(fields).slice(1, -1)}${text.slice(end)}`
}

/** The body of a native request, for the model that the chat names. Its own text is sent where nothing in it has to change. */
export const native = (body: Native.Native["body"], model: string, isStream: boolean): HttpBody.HttpBody =>
  jsonBody(
    body["model"] === model && (body["stream"] === true) === isStream
      ? WireText.stringify(body)
      : JSON.stringify({ ...body, model, ...(isStream || "stream" in body ? { stream: isStream } : undefined) })
  )

const jsonBody = (text: string): HttpBody.Uint8Array => HttpBody.text(wellFormed(text), "application/json")

/** Half of a surrogate pair, which a service may refuse as invalid JSON, or a whole one, or another escape. */
const escapes = /\\u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}|\\u[dD][89a-fA-F][\da-fA-F]{2}|\\[^]/g

/** JSON without lone surrogates: U+FFFD stands for each, as in text that is written as UTF-8. */
const wellFormed = (text: string): string =>
  /\\u[dD][89a-fA-F]/.test(text)
    ? text.replace(escapes, (escape) => escape.length === 6 ? "\\ufffd" : escape)
    : text

/** How many choices a request asks for. Other services than DeepSeek have a field for that. */
export const choices = (request: ChatRequest): number => {
  const n = hasProperty(request, "n") ? request.n : 1
  return typeof n === "number" && n >= 1 ? n : 1
}
