/**
 * Files that are kept at the service, for images that many requests show: upload, list, read what is known of one, delete.
 *
 * An upload is a stream: no more of the file is held than the piece at hand, and the reading of it follows the network. It is sent once,
 * since a stream can't always be read twice and a second upload would be a second file. What breaks the service's limits is refused
 * before it is sent, and where the size is not known beforehand, as soon as it is past the limit.
 *
 * A file belongs to the account whose key has uploaded it. A request names it by its id: `{ type: "file", file: { file_id } }`.
 *
 * @since 0.1.0
 */
import type { ChatError } from "@ballast/chat/ChatError"
import * as WireText from "@ballast/chat/WireText"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpBody from "effect/http/HttpBody"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as decode from "./internal/decode.ts"
import * as form from "./internal/form.ts"
import { nullable } from "./internal/nullable.ts"
import { isLonger, unfit } from "./internal/unfit.ts"

/**
 * What is known of a file. Times are Unix times in seconds, `bytes` is its size.
 *
 * @category models
 * @since 0.1.0
 */
export const File = Schema.Struct({
  id: Schema.String,
  object: nullable(Schema.String),
  bytes: Schema.Finite,
  created_at: Schema.Finite,
  filename: Schema.String,
  purpose: nullable(Schema.String),
  expires_at: nullable(Schema.Finite)
})

/**
 * @category models
 * @since 0.1.0
 */
export type File = typeof File.Type

/**
 * A page of the list. `last_id` is what the next page comes `after`, if it `has_more`.
 *
 * @category models
 * @since 0.1.0
 */
export const Page = Schema.Struct({
  object: nullable(Schema.String),
  data: Schema.Array(File),
  first_id: nullable(Schema.String),
  last_id: nullable(Schema.String),
  has_more: nullable(Schema.Boolean)
})

/**
 * @category models
 * @since 0.1.0
 */
export type Page = typeof Page.Type

/**
 * What is left of a file that was deleted.
 *
 * @category models
 * @since 0.1.0
 */
export const Deleted = Schema.Struct({
  id: Schema.String,
  object: nullable(Schema.String),
  deleted: Schema.Boolean
})

/**
 * @category models
 * @since 0.1.0
 */
export type Deleted = typeof Deleted.Type

/**
 * The service's limits. Beside them an account keeps 10,000 files and 25 GiB at most, and an upload takes 10 minutes at most.
 *
 * @see {@link https://api-docs.deepseek.com/api/create-file}
 * @category constants
 * @since 0.1.0
 */
export const limits = {
  /** Bytes of one file. */
  size: 64 * 1024 * 1024,
  /** Characters of its name. */
  filename: 512,
  /** How long a file may be kept, where that is limited. */
  expiry: { least: "1 hour", most: "30 days" },
  /** Files of one page. */
  page: 1000
} as const

/**
 * A file to upload.
 *
 * @category options
 * @since 0.1.0
 */
export interface Upload<out E = never, out R = never> {
  /** 1 to 512 characters. */
  readonly filename: string
  /** At least 1 byte, at most 64 MiB. */
  readonly content: Stream.Stream<Uint8Array, E, R>
  /** Bytes of the content, where that is known; then it is told beforehand, and must be true. Default unknown. */
  readonly size?: number | undefined
  /** The type of the content. The service looks at the content itself. Default `application/octet-stream`. */
  readonly contentType?: string | undefined
  /** How long the service keeps the file, from 1 hour to 30 days. Default until it is deleted. */
  readonly expiresAfter?: Duration.Input | undefined
  /** Called for each piece of the content that was taken to be sent, with the bytes so far. Default nothing. */
  readonly onProgress?: ((bytes: number) => Effect.Effect<void, E, R>) | undefined
}

/**
 * A part of the list.
 *
 * @category options
 * @since 0.1.0
 */
export interface Query {
  /** The id of the file before the first one. Default: the list's beginning. */
  readonly after?: string | undefined
  /** Files of a page, from 1 to 1,000. Default 1,000. */
  readonly limit?: number | undefined
  /** By the time of their upload. Default: the service's, newest first. */
  readonly order?: "asc" | "desc" | undefined
  readonly purpose?: string | undefined
}

/**
 * A form that is written already, with a field `purpose` and a `file`.
 *
 * @category options
 * @since 0.1.0
 */
export interface Form<out E = never> {
  /** `multipart/form-data` with its boundary. */
  readonly contentType: string
  readonly contentLength?: number | undefined
  readonly body: Stream.Stream<Uint8Array, E>
}

/**
 * The files of one account. What the service answers keeps its text (`WireText`).
 *
 * @category models
 * @since 0.1.0
 */
export interface Files<out E = ChatError> {
  readonly upload: <E2, R>(file: Upload<E2, R>) => Effect.Effect<File, E | E2, R>
  /** Passes a form on as it comes. */
  readonly uploadForm: <E2>(form: Form<E2>) => Effect.Effect<File, E | E2>
  /** All files, page by page: a page is asked for when the one before it has been taken. */
  readonly list: (query?: Query) => Stream.Stream<File, E>
  readonly page: (query?: Query) => Effect.Effect<Page, E>
  readonly get: (id: string) => Effect.Effect<File, E>
  readonly delete: (id: string) => Effect.Effect<Deleted, E>
}

/**
 * Sends a request below the path of files, and reads the answer.
 *
 * @category options
 * @since 0.1.0
 */
export type Send = <A extends object>(
  method: "GET" | "POST" | "DELETE",
  path: string,
  body: HttpBody.HttpBody,
  read: (text: string) => A | WireText.Unreadable
) => Effect.Effect<A, ChatError>

const reader = <A extends object>(schema: Schema.Codec<A>) => {
  const read = decode.json(schema)
  return (text: string): A | WireText.Unreadable => {
    const value = read(text)
    return value instanceof WireText.Unreadable ? value : WireText.attach(value, text)
  }
}

const readFile = reader(File)
const readPage = reader(Page)
const readDeleted = reader(Deleted)

/** What is wrong with a file before its first byte is read. */
const problemOf = ({ filename, size }: Upload<unknown, unknown>): string | undefined => {
  if (filename === "" || isLonger(filename, limits.filename)) {
    return `\`filename\` must have 1 to ${limits.filename} characters, got ${filename.length}`
  }
  return size === undefined || Number.isInteger(size) && size >= 1 && size <= limits.size
    ? undefined
    : `\`file\` must have 1 to ${limits.size} bytes, got ${size}`
}

const expiryOf = (input: Duration.Input): number | undefined => {
  const seconds = Math.round(Duration.toSeconds(Duration.fromInputUnsafe(input)))
  const { least, most } = limits.expiry
  return seconds >= Duration.toSeconds(least) && seconds <= Duration.toSeconds(most) ? seconds : undefined
}

/** The content, counted: it fails when it is larger than it may be, or other than it was said to be. */
const counted = <E, R>({ content, onProgress, size }: Upload<E, R>): Stream.Stream<Uint8Array, E | ChatError, R> =>
  Stream.suspend(() => {
    let bytes = 0
    const most = size ?? limits.size
    const tooLarge = () =>
      size === undefined
        ? `\`file\` must have at most ${limits.size} bytes, and has more`
        : `\`file\` has more than the ${size} bytes that it was said to have`
    const pieces = Stream.mapEffect(content, (piece): Effect.Effect<Uint8Array, E | ChatError, R> => {
      bytes += piece.byteLength
      if (bytes > most) return Effect.fail(unfit(tooLarge()))
      return onProgress === undefined ? Effect.succeed(piece) : Effect.as(onProgress(bytes), piece)
    })
    const end = Stream.fromEffectDrain(Effect.suspend(() =>
      bytes === 0
        ? Effect.fail(unfit("`file` is empty"))
        : size !== undefined && bytes < size
        ? Effect.fail(unfit(`\`file\` has ${bytes} bytes, not the ${size} that it was said to have`))
        : Effect.void
    ))
    return Stream.concat(pieces, end)
  })

const queryOf = (query: Query): string => {
  const params = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) if (value !== undefined) params.set(name, String(value))
  return params.size === 0 ? "" : `?${params}`
}

const pathOf = (id: string): string => `/${encodeURIComponent(id)}`

/**
 * Makes the files of an account, of a way to send.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (send: Send): Files => {
  /** Sends a body that may fail for reasons of its own, which are then the call's. */
  const post = <E2>({ body, contentLength, contentType }: Form<E2>): Effect.Effect<File, ChatError | E2> =>
    Effect.suspend(() => {
      let failure: Cause.Cause<E2> | undefined
      const watched = Stream.tapCause(body, (cause) =>
        Effect.sync(() => {
          if (!Cause.hasInterruptsOnly(cause)) failure = cause
        }))
      return Effect.catchCause(
        send("POST", "", HttpBody.stream(watched, contentType, contentLength), readFile),
        (cause) => Effect.failCause<ChatError | E2>(failure ?? cause)
      )
    })

  const upload = <E2, R>(file: Upload<E2, R>): Effect.Effect<File, ChatError | E2, R> =>
    Effect.gen(function*() {
      const problem = problemOf(file)
      if (problem !== undefined) return yield* unfit(problem)
      const expiry = file.expiresAfter === undefined ? undefined : expiryOf(file.expiresAfter)
      if (file.expiresAfter !== undefined && expiry === undefined) {
        return yield* unfit(`\`expires_after\` must be from ${limits.expiry.least} to ${limits.expiry.most}`)
      }
      const context = yield* Effect.context<R>()
      const encoded = yield* form.encode({
        fields: {
          purpose: "user_data",
          ...(expiry === undefined
            ? undefined
            : { "expires_after[anchor]": "created_at", "expires_after[seconds]": String(expiry) })
        },
        file: {
          filename: file.filename,
          contentType: file.contentType ?? "application/octet-stream",
          size: file.size,
          content: Stream.provideContext(counted(file), context)
        }
      })
      return yield* post(encoded)
    })

  const page = (query: Query = {}): Effect.Effect<Page, ChatError> => {
    const { limit } = query
    return limit !== undefined && !(Number.isInteger(limit) && limit >= 1 && limit <= limits.page)
      ? Effect.fail(unfit(`\`limit\` must be a whole number from 1 to ${limits.page}, got ${limit}`))
      : send("GET", queryOf(query), HttpBody.empty, readPage)
  }

  return {
    upload,
    uploadForm: post,
    page,
    list: (query) => list(page, query),
    get: (id) => send("GET", pathOf(id), HttpBody.empty, readFile),
    delete: (id) => send("DELETE", pathOf(id), HttpBody.empty, readDeleted)
  }
}

/** Goes from page to page. A service that says there is more, and not after what, has no more. */
const list = <E>(page: Files<E>["page"], query: Query = {}): Stream.Stream<File, E> =>
  Stream.paginate(query.after, (after) =>
    Effect.map(page({ ...query, after }), ({ data, has_more, last_id }) => {
      const next = last_id ?? data.at(-1)?.id
      return [data, has_more === true && next !== undefined && next !== after ? Option.some(next) : Option.none()]
    }))

/**
 * Puts policies around files: one around what is looked up, one around uploads.
 *
 * @category combinators
 * @since 0.1.0
 */
export const withPolicy = <E, E2>(self: Files<E>, policies: {
  readonly lookup: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | E2, R>
  readonly upload: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | E2, R>
}): Files<E | E2> => {
  const page: Files<E | E2>["page"] = (query) => policies.lookup(self.page(query))
  return {
    upload: (file) => policies.upload(self.upload(file)),
    uploadForm: (form) => policies.upload(self.uploadForm(form)),
    page,
    list: (query) => list(page, query),
    get: (id) => policies.lookup(self.get(id)),
    delete: (id) => policies.lookup(self.delete(id))
  }
}
