import type * as ChatError from "@ballast/chat/ChatError"
import { limits } from "@ballast/chat/Limits"
import type * as Arr from "effect/Array"
import * as Channel from "effect/Channel"
import * as Effect from "effect/Effect"
import type { HttpClientError } from "effect/http/HttpClientError"
import type { HttpClientResponse } from "effect/http/HttpClientResponse"
import * as Pull from "effect/Pull"
import * as Stream from "effect/Stream"
import * as errors from "./errors.ts"
import { bodyTooLarge } from "./exchange.ts"

/** The text of a body, and whether it goes on past the limit. */
export interface Text {
  readonly text: string
  readonly more: boolean
}

/**
 * Reads a body whole, as far as `limit` bytes. What comes after them is not read, and the connection is let go; then the text is no longer
 * than that of an error.
 */
export const text = (response: HttpClientResponse, limit: number): Effect.Effect<Text, ChatError.TransportError> =>
  Effect.catch(
    isWithin(response, limit)
      ? Effect.map(response.text, (text): Text => ({ text, more: false }))
      : collect(response, limit),
    (error): Effect.Effect<Text, ChatError.TransportError> => {
      const more = errors.codeOf(error) === bodyTooLarge
      return more || error.reason._tag === "EmptyBodyError"
        ? Effect.succeed({ text: "", more })
        : Effect.fail(errors.fromTransport(error))
    }
  )

/** Whether a body says that it is no longer than the limit. An encoded one does not say how long it becomes. */
const isWithin = ({ headers }: HttpClientResponse, limit: number): boolean =>
  headers["content-encoding"] === undefined && headers["content-length"] !== undefined &&
  Number(headers["content-length"]) <= limit

const collect = (response: HttpClientResponse, limit: number): Effect.Effect<Text, HttpClientError> =>
  Effect.scopedWith((scope) =>
    Effect.flatMap(
      Channel.toPullScoped(Stream.toChannel(response.stream), scope),
      (pull) => new Collecting(pull, limit).read
    )
  )

/** The body of an answer that is an error, as far as anybody reads it. */
export const errorText = (response: HttpClientResponse): Effect.Effect<string, ChatError.TransportError> =>
  Effect.map(text(response, limits.errorBody), ({ text }) => text)

class Collecting {
  readonly limit: number
  readonly pieces: Array<Uint8Array> = []
  size = 0
  readonly read: Effect.Effect<Text, HttpClientError>

  constructor(pull: Pull.Pull<Arr.NonEmptyReadonlyArray<Uint8Array>, HttpClientError>, limit: number) {
    this.limit = limit
    this.read = Pull.matchEffect(pull, {
      onSuccess: (pieces) => {
        for (const piece of pieces) this.add(piece)
        return this.size > limit ? Effect.succeed(this.text()) : this.read
      },
      onFailure: Effect.failCause,
      onDone: () => Effect.succeed(this.text())
    })
  }

  private add(piece: Uint8Array): void {
    this.pieces.push(piece)
    this.size += piece.byteLength
  }

  private text(): Text {
    const [first, second] = this.pieces
    const more = this.size > this.limit
    const size = more ? Math.min(this.limit, limits.errorBody) : this.size
    const bytes = first !== undefined && second === undefined
      ? first.subarray(0, size)
      : Buffer.concat(this.pieces, size)
    return { text: decoder.decode(bytes), more }
  }
}

const decoder = new TextDecoder()
