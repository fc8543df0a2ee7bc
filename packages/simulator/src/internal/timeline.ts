/** What is sent after the headers, and when. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Pull from "effect/Pull"
import * as Stream from "effect/Stream"
import type { Fault } from "../Fault.ts"
import type { Pace } from "./pace.ts"
import * as Refusal from "./refusal.ts"

export interface Piece {
  /** Milliseconds after the headers. */
  readonly at: number
  readonly content: Content
}

/** Text is sent as UTF-8. */
export type Content = string | Uint8Array

/** How a body ends: as it should, by a destroyed connection, or never. */
export type End = "clean" | "cut" | "stall"

export interface Timeline {
  readonly pieces: Iterable<Piece>
  readonly end: End
}

/** A whole body at once. */
export const whole = (content: Content): Timeline => ({
  pieces: content.length === 0 ? [] : [{ at: 0, content }],
  end: "clean"
})

const comment = ": keep-alive\n\n"

/** An event of a stream of chunks. */
export const event = (data: string): string => `data: ${data}\n\n`

/** `count` pieces of `text`, evenly spread over the time until `until`. */
const spread = function*(text: string, count: number, until: number): Generator<Piece> {
  for (let i = 1; i <= count; i++) yield { at: until * i / (count + 1), content: text }
}

/** Adds a sign of life to every pause longer than `interval`. */
const keepingAlive = function*(pieces: Iterable<Piece>, text: string, interval: number): Generator<Piece> {
  let last = 0
  for (const piece of pieces) {
    for (last += interval; last < piece.at; last += interval) yield { at: last, content: text }
    yield piece
    last = piece.at
  }
}

const take = function*<A>(items: Iterable<A>, count: number): Generator<A> {
  let taken = 0
  if (count > 0) {
    for (const item of items) {
      yield item
      if (++taken >= count) return
    }
  }
}

/** The fault that breaks a body off, and after how many events. */
const breakOf = (fault: Fault): readonly [after: number, end: End] | undefined =>
  fault.stall !== undefined
    ? [fault.stall, "stall"]
    : fault.cut !== undefined
    ? [fault.cut, "cut"]
    : fault.end !== undefined
    ? [fault.end, "clean"]
    : undefined

/** A stream of events, each one or more of them in one text, paced, broken as the fault says. */
export const events = (texts: Iterable<string>, pace: Pace, fault: Fault): Timeline => {
  const paced = function*(): Generator<Piece> {
    let at = pace.first
    let sent = 0
    yield* spread(comment, fault.keepAlive ?? 0, pace.first)
    for (const text of texts) {
      if (fault.error === sent) return yield { at, content: event(Refusal.inStream) }
      yield { at, content: fault.malformed === true && sent === 1 ? event("{\"id\":") : text }
      // The opening event comes together with the first token.
      if (sent++ > 0) at += pace.gap()
    }
  }
  const broken = breakOf(fault)
  const pieces = broken === undefined ? paced() : take(paced(), broken[0] + (fault.keepAlive ?? 0))
  return { pieces: keepingAlive(pieces, comment, pace.keepAlive), end: broken?.[1] ?? "clean" }
}

const halfOf = (content: Content, events: number) => content.slice(0, events === 0 ? 0 : Math.ceil(content.length / 2))

/** A body that comes after `at` milliseconds, broken as the fault says. */
export const body = (whole: Content, at: number, keepAlive: number, fault: Fault): Timeline => {
  const broken = breakOf(fault)
  const content = broken !== undefined ? halfOf(whole, broken[0]) : fault.malformed === true ? whole.slice(1) : whole
  const pieces = [...spread("\n", fault.padding ?? 0, at), ...(content.length === 0 ? [] : [{ at, content }])]
  return { pieces: keepingAlive(pieces, "\n", keepAlive), end: broken?.[1] ?? "clean" }
}

/** A JSON body, or the error object that the fault puts in its place. */
export const json = (value: unknown, at: number, keepAlive: number, fault: Fault): Timeline =>
  body(fault.error === undefined ? JSON.stringify(value) : Refusal.inStream, at, keepAlive, fault)

/** The service closes the connection of an answer that has not begun by then, in milliseconds. */
const startLimit = 600_000

const before = function*(pieces: Iterable<Piece>, limit: number): Generator<Piece> {
  for (const piece of pieces) {
    if (piece.at >= limit) break
    yield piece
  }
  yield { at: limit, content: "\n" }
}

/** An answer whose first token would come at `first` milliseconds, or the end of one that is too late. */
export const inTime = (first: number, timeline: Timeline): Timeline =>
  first <= startLimit ? timeline : { pieces: before(timeline.pieces, startLimit), end: "cut" }

type Bytes = [Uint8Array, ...Array<Uint8Array>]

const encoder = new TextEncoder()

const bytesOf = ({ content }: Piece): Uint8Array => typeof content === "string" ? encoder.encode(content) : content

/** Pieces that one pull may give at once, to bound memory when everything is due. */
const batch = 256

/**
 * The bytes of a timeline that began at `start` (Unix milliseconds), each when it is due. A slow reader finds waiting what has
 * become due meanwhile, as with a socket.
 */
export const stream = <E>(timeline: Timeline, start: number, cut: E): Stream.Stream<Uint8Array, E> =>
  Stream.fromPull(Effect.sync(() => {
    const iterator = timeline.pieces[Symbol.iterator]()
    let next = iterator.next()

    const due = (first: Piece, now: number): Bytes => {
      const bytes: Bytes = [bytesOf(first)]
      next = iterator.next()
      while (next.done !== true && start + next.value.at <= now && bytes.length < batch) {
        bytes.push(bytesOf(next.value))
        next = iterator.next()
      }
      return bytes
    }
    const end = timeline.end === "clean" ? Cause.done() : timeline.end === "cut" ? Effect.fail(cut) : Effect.never

    return Effect.flatMap(Clock.currentTimeMillis, (now): Pull.Pull<Bytes, E> => {
      if (next.done === true) return end
      const piece = next.value
      const at = start + Math.round(piece.at)
      return at <= now ? Effect.sync(() => due(piece, now)) : Effect.map(Effect.sleep(at - now), () => due(piece, at))
    })
  }))
