import * as AnswerMemory from "@ballast/chat/AnswerMemory"
import type * as ChatError from "@ballast/chat/ChatError"
import { limits } from "@ballast/chat/Limits"
import type * as Arr from "effect/Array"
import * as Channel from "effect/Channel"
import * as Effect from "effect/Effect"
import { type HttpClientError, isHttpClientError } from "effect/http/HttpClientError"
import type { HttpClientResponse } from "effect/http/HttpClientResponse"
import * as Pull from "effect/Pull"
import * as Stream from "effect/Stream"
import * as errors from "./errors.ts"
import { bodyTooLarge } from "./exchange.ts"

/** The text of a body, no longer than that of an error where the body goes on past the limit. */
interface Text {
  readonly text: string
  readonly more: boolean
}

/**
 * Reads the text of a body whole. Of one with more than `limit` bytes the rest is not read, the connection is let go, and it fails as
 * `tooLarge` says of the text's beginning.
 */
export const text = <E>(
  response: HttpClientResponse,
  limit: number,
  tooLarge: (beginning: string) => E
): Effect.Effect<string, ChatError.TransportError | E> =>
  Effect.catch(
    isSmall(response)
      ? response.text
      : Effect.flatMap(
        collect(response, limit),
        ({ more, text }): Effect.Effect<string, HttpClientError | E> =>
          more ? Effect.fail(tooLarge(text)) : Effect.succeed(text)
      ),
    (error): Effect.Effect<string, ChatError.TransportError | E> => {
      if (!isHttpClientError(error)) return Effect.fail(error)
      if (errors.codeOf(error) === bodyTooLarge) return Effect.fail(tooLarge(""))
      return error.reason._tag === "EmptyBodyError" ? Effect.succeed("") : Effect.fail(errors.fromTransport(error))
    }
  )

/** Whether a body says that it is so small that it needs no bounds. An encoded one does not say how long it becomes. */
const isSmall = ({ headers }: HttpClientResponse): boolean =>
  headers["content-encoding"] === undefined && headers["content-length"] !== undefined &&
  Number(headers["content-length"]) <= limits.freeAnswer

const collect = (response: HttpClientResponse, limit: number): Effect.Effect<Text, HttpClientError> =>
  collecting(response, limit, (collecting) => collecting.read)

const collecting = <A, E>(
  response: HttpClientResponse,
  limit: number,
  use: (collecting: Collecting) => Effect.Effect<A, E>
): Effect.Effect<A, E> =>
  Effect.scopedWith((scope) =>
    Effect.flatMap(
      Channel.toPullScoped(Stream.toChannel(response.stream), scope),
      (pull) =>
        Effect.flatMap(
          AnswerMemory.Current,
          (memory) => Effect.flatMap(memory.hold(scope), (hold) => use(new Collecting(pull, limit, hold)))
        )
    )
  )

/**
 * The body of an answer that is an error, as far as anybody reads it, and as far as it comes: the status says that the call has failed,
 * however its body ends.
 */
export const errorText = (response: HttpClientResponse): Effect.Effect<string> =>
  collecting(response, limits.errorBody, (collecting) => {
    const come = Effect.sync(() => collecting.text())
    return collecting.read.pipe(
      Effect.timeoutOrElse({ duration: limits.errorWait, orElse: () => come }),
      Effect.catch(() => come),
      Effect.map(({ text }) => text)
    )
  })

class Collecting {
  readonly limit: number
  /** What has come. All but the last are full; one buffer that grows would be copied whole while everything else waits. */
  readonly segments: Array<Uint8Array<ArrayBuffer>> = []
  last = new Uint8Array(0)
  /** Of the last segment, in bytes. */
  room = 0
  size = 0
  readonly read: Effect.Effect<Text, HttpClientError>

  constructor(
    pull: Pull.Pull<Arr.NonEmptyReadonlyArray<Uint8Array>, HttpClientError>,
    limit: number,
    hold: AnswerMemory.Hold
  ) {
    this.limit = limit
    this.read = Pull.matchEffect(pull, {
      onSuccess: (pieces) => {
        for (const piece of pieces) this.add(piece)
        if (this.size > limit) return Effect.succeed(this.text())
        return hold.set(this.size) ? this.read : Effect.andThen(hold.turn, this.read)
      },
      onFailure: Effect.failCause,
      onDone: () => Effect.succeed(this.text())
    })
  }

  private add(piece: Uint8Array): void {
    this.size += piece.byteLength
    for (let rest = piece; rest.byteLength > 0;) {
      if (this.room === 0) this.addSegment()
      const part = rest.subarray(0, this.room)
      this.last.set(part, this.last.byteLength - this.room)
      this.room -= part.byteLength
      rest = rest.subarray(part.byteLength)
    }
  }

  private addSegment(): void {
    this.last = new Uint8Array(this.segments.length === 0 ? first : further)
    this.room = this.last.byteLength
    this.segments.push(this.last)
  }

  /** Frees each segment at once. Were they left to the garbage collector, several large answers would take twice their memory. */
  text(): Text {
    const more = this.size > this.limit
    const decoder = new TextDecoder()
    let text = ""
    let left = more ? Math.min(this.limit, limits.errorBody) : this.size
    for (const segment of this.segments) {
      text += decoder.decode(segment.subarray(0, left), { stream: true })
      left = Math.max(0, left - segment.byteLength)
      segment.buffer.transfer(0)
    }
    return { text: text + decoder.decode(), more }
  }
}

/** Bytes of a segment: most answers fit into the first. */
const first = 16 * 1024
const further = 1024 * 1024
