/**
 * Reads JSON bodies of requests, within bounds.
 *
 * | bound | default | past it |
 * |---|---|---|
 * | size of a body | `maxBodySize`, 16 MiB; at most 48 MiB, the service's own cap | `413` that names the setting |
 * | memory for the bodies of all requests | `memory`, a quarter of the heap limit | wait of at most a second, then `503` with `Retry-After` |
 * | depth of objects and arrays | 128 | `400` |
 * | values: objects, arrays and what they hold | 250,000 | `400` |
 *
 * Depth and values are counted before anything is built: a short text can build a lot. A body counts with four times its bytes (as they came,
 * as text, as values, and as it goes upstream) and 100 bytes a value, which is what the largest of them, small objects of different
 * shapes, take. It counts until its answer is there, or the scope closes; once its answer has begun, with its bytes once and 100 bytes a value. All work is linear in the size of the body.
 *
 * @since 0.1.0
 */
import * as WireText from "@ballast/chat/WireText"
import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as Scope from "effect/Scope"
import type { IncomingMessage, ServerResponse } from "node:http"
import { getHeapStatistics } from "node:v8"
import { ByteBudget, Hold } from "./internal/byteBudget.ts"
import type * as jsonBounds from "./internal/jsonBounds.ts"
import * as jsonText from "./internal/jsonText.ts"
import { Rejection } from "./Rejection.ts"

/**
 * The largest `maxBodySize`: 48 MiB, the service's own cap.
 *
 * @category constants
 * @since 0.1.0
 */
export const largest: number = 48 * 1024 * 1024

/**
 * What is used where `Options` say nothing.
 *
 * @category defaults
 * @since 0.1.0
 */
export const defaults = {
  maxBodySize: 16 * 1024 * 1024,
  /** Part of the heap limit. */
  memory: 1 / 4
} as const

/**
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** Bytes of a body, a whole number from 1 to `largest`. Default 16 MiB. */
  readonly maxBodySize?: number | undefined
  /** Bytes of memory for the bodies of all requests at once, from 1. Default a quarter of the heap limit. */
  readonly memory?: number | undefined
}

/**
 * The body of a request.
 *
 * @category models
 * @since 0.1.0
 */
export interface Body {
  readonly json: unknown
  /** The text that `json` was read from. */
  readonly text: string
  /** Says, once, that the answer has begun: from now on at most the values are kept. */
  readonly begun: () => void
}

/**
 * What a body may be, beside its size.
 *
 * @category models
 * @since 0.1.0
 */
export interface Kind {
  readonly type: RegExp
  /** What the refusal of another type tells its sender to send. */
  readonly expected: string
  readonly bounds: jsonBounds.Bounds
  /** Default: `WireText.parseFields`. */
  readonly parse?: (text: string) => unknown
}

/**
 * The bytes of a body, and how a part of them is read as JSON.
 *
 * @category models
 * @since 0.1.0
 */
export interface Bytes {
  readonly bytes: Buffer
  readonly json: (part: Buffer) => Effect.Effect<Body, Rejection>
  /** Takes what a thread needs that reads the whole body: all its copies. */
  readonly reserve: Effect.Effect<void, Rejection>
}

/**
 * Reads bodies that share one budget of memory.
 *
 * @category models
 * @since 0.1.0
 */
export interface Bodies {
  /** Answers by a body that is JSON, which counts until the answer is there. */
  readonly use: <A, E, R>(
    request: HttpServerRequest,
    answer: (body: Body) => Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | Rejection, R>
  /** A body that is JSON. */
  readonly read: (request: HttpServerRequest) => Effect.Effect<Body, Rejection, Scope.Scope>
  /** A body that is JSON in part, or not at all. */
  readonly bytes: (request: HttpServerRequest, kind: Kind) => Effect.Effect<Bytes, Rejection, Scope.Scope>
}

const bytesOfValue = 100

/** How often a body is kept at once. */
const copies = 4

const sizeOf = (bytes: number): string =>
  bytes % (1024 * 1024) === 0
    ? `${bytes / 1024 / 1024} MiB`
    : bytes % 1024 === 0
    ? `${bytes / 1024} KiB`
    : `${bytes} bytes`

const checkOption = (name: keyof Options, value: number, most: number): number => {
  if (Number.isInteger(value) && value >= 1 && value <= most) return value
  throw new RangeError(`Body.make: ${name} must be a whole number of bytes from 1 to ${most}, got ${value}`)
}

/**
 * Makes a reader of bodies. Throws a `RangeError` when an option is out of its bounds.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options = {}): Bodies => {
  const limit = checkOption("maxBodySize", options.maxBodySize ?? defaults.maxBodySize, largest)
  const memory = options.memory ?? Math.floor(getHeapStatistics().heap_size_limit * defaults.memory)
  const budget = new ByteBudget(checkOption("memory", memory, Number.MAX_SAFE_INTEGER))
  const overLimit = new Rejection({
    case: "BodyTooLarge",
    detail: `The body is larger than ${sizeOf(limit)}, the gateway's BALLAST_MAX_BODY_SIZE.`
  })
  const tooLarge = (size: number) =>
    size > limit ? overLimit : size * copies > budget.capacity ? overMemory(budget) : undefined
  const collected = (request: HttpServerRequest, kind: Kind, hold: Hold): Effect.Effect<Buffer, Rejection> => {
    const refused = checkHeaders(request.headers, kind) ?? tooLarge(Number(request.headers["content-length"] ?? 0))
    return refused === undefined ? collect(new Reading(sourceOf(request), hold, tooLarge)) : Effect.fail(refused)
  }
  const parsed = (request: HttpServerRequest, hold: Hold) =>
    Effect.flatMap(collected(request, json, hold), (bytes) => parse(bytes, hold, json))
  const untilClosed = Effect.flatMap(Effect.scope, (scope) => {
    const hold = new Hold(budget)
    return Effect.as(Scope.addFinalizer(scope, Effect.sync(() => hold.releaseAll())), hold)
  })
  return {
    // A finalizer of a scope that has others would cost each call 3 µs.
    use: (request, answer) =>
      Effect.suspend(() => {
        const hold = new Hold(budget)
        // The fiber keeps this effect until the answer is there, so it is made within: what reads a body holds its bytes.
        return Effect.onExitPrimitive(Effect.suspend(() => Effect.flatMap(parsed(request, hold), answer)), () => {
          hold.releaseAll()
          return undefined
        })
      }),
    read: (request) => Effect.flatMap(untilClosed, (hold) => parsed(request, hold)),
    bytes: (request, kind) =>
      Effect.flatMap(untilClosed, (held) =>
        Effect.map(collected(request, kind, held), (bytes) => ({
          bytes,
          json: (part) => parse(part, held, kind),
          reserve: hold(held, bytes.length * (copies - 1))
        })))
  }
}

/**
 * By name: a web page can make a browser post other types to this machine without asking first, but not this one.
 */
const json: Kind = {
  type: /^application\/json *(?:;|$)/i,
  expected: "Send JSON with the header \"content-type: application/json\".",
  bounds: { depth: 128, values: 250_000 }
}

const checkHeaders = (
  headers: Readonly<Record<string, string | undefined>>,
  { expected, type: right }: Kind
): Rejection | undefined => {
  const type = headers["content-type"]
  if (type === undefined || !right.test(type)) {
    const given = type === undefined ? "no content type" : `content type ${JSON.stringify(type)}`
    return new Rejection({ case: "UnsupportedMediaType", detail: `The request has ${given}. ${expected}` })
  }
  const encoding = headers["content-encoding"]
  return encoding === undefined || encoding.toLowerCase() === "identity" ? undefined : new Rejection({
    case: "UnsupportedMediaType",
    detail: `The body is encoded as ${JSON.stringify(encoding)}. Send it without a content encoding.`
  })
}

/**
 * The body of a request as it comes. A client that waits for leave to send it gets that.
 *
 * @category accessors
 * @since 0.1.0
 */
export const sourceOf = (request: HttpServerRequest): IncomingMessage => {
  // `Gateway` serves HTTP/1 only.
  const source = NodeHttpServerRequest.toIncomingMessage(request) as IncomingMessage
  if (source.headers.expect !== undefined) {
    const response = NodeHttpServerRequest.toServerResponse(request) as ServerResponse
    response.writeContinue()
  }
  return source
}

const unreadable = new Rejection({ case: "BodyUnreadable", detail: "The body could not be read to its end." })

const busy = new Rejection({
  case: "Busy",
  detail: "The gateway holds as many bytes of requests as it may (BALLAST_BODY_MEMORY). Send the request again.",
  retryAfter: Duration.seconds(1)
})

/** A body on its way. */
class Reading {
  readonly source: IncomingMessage
  readonly hold: Hold
  readonly tooLarge: (size: number) => Rejection | undefined
  readonly chunks: Array<Buffer> = []
  size = 0

  constructor(source: IncomingMessage, hold: Hold, tooLarge: (size: number) => Rejection | undefined) {
    this.source = source
    this.hold = hold
    this.tooLarge = tooLarge
  }

  /**
   * Reads until the end, or until there is no memory for a chunk: then succeeds with its length. Interrupting it leaves the rest of the body
   * unread, and the connection whole, so that an answer can still be sent.
   */
  readonly next: Effect.Effect<number, Rejection> = Effect.callback((resume) => {
    const { source } = this
    if (source.destroyed && !source.readableEnded) return resume(Effect.fail(unreadable))
    const stop = () => {
      source.off("data", onData).off("end", onEnd).off("error", onLost).off("close", onLost)
      if (!source.readableEnded) source.pause()
    }
    const settle = (effect: Effect.Effect<number, Rejection>) => {
      stop()
      resume(effect)
    }
    const onData = (chunk: Buffer) => {
      this.size += chunk.length
      const refusal = this.tooLarge(this.size)
      if (refusal !== undefined) return settle(Effect.fail(refusal))
      this.chunks.push(chunk)
      if (!this.hold.take(chunk.length)) settle(Effect.succeed(chunk.length))
    }
    const onEnd = () => settle(Effect.succeed(0))
    const onLost = () => settle(Effect.fail(unreadable))
    source.on("data", onData).on("end", onEnd).on("error", onLost).on("close", onLost).resume()
    return Effect.sync(stop)
  })
}

const collect = (reading: Reading): Effect.Effect<Buffer, Rejection> =>
  Effect.flatMap(reading.next, (owed) => {
    if (owed > 0) return Effect.andThen(hold(reading.hold, owed), collect(reading))
    const [first] = reading.chunks
    return Effect.succeed(first !== undefined && reading.chunks.length === 1 ? first : Buffer.concat(reading.chunks))
  })

const hold = (hold: Hold, bytes: number): Effect.Effect<void, Rejection> => {
  if (hold.take(bytes)) return Effect.void
  const { budget } = hold
  return hold.bytes + bytes > budget.capacity
    ? Effect.fail(overMemory(budget))
    : Effect.flatMap(hold.wait(bytes), (taken) => taken ? Effect.void : Effect.fail(busy))
}

const overMemory = ({ capacity }: ByteBudget) =>
  new Rejection({
    case: "BodyTooLarge",
    detail:
      `The body takes more memory than the gateway has for all bodies together: ${capacity} bytes, its BALLAST_BODY_MEMORY.`
  })

/** Made apart from where the body is read, since it must not keep that. */
const releasing = (holder: Hold, bytes: number) => (): void => holder.release(bytes)

const parse = (
  bytes: Buffer,
  holder: Hold,
  { bounds, parse = WireText.parseFields }: Kind
): Effect.Effect<Body, Rejection> => {
  const measured = jsonText.measure(bytes, bounds)
  if (typeof measured === "string") return Effect.fail(malformed(measured))
  const texts = bytes.length * (copies - 1)
  const all = texts + measured.values * bytesOfValue
  const build = (): Effect.Effect<Body, Rejection> => {
    const built = jsonText.build(bytes, measured, parse)
    return typeof built === "string"
      ? Effect.fail(malformed(built))
      : Effect.succeed({ ...built, begun: releasing(holder, texts) })
  }
  return holder.take(all) ? build() : Effect.flatMap(hold(holder, all), build)
}

const malformed = (detail: string) => new Rejection({ case: "MalformedJson", detail })
