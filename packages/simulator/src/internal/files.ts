/** The files of the account: what is known of each is kept, its bytes are not, since nothing reads them. */
import * as Result from "effect/Result"
import * as Draw from "./draw.ts"
import * as Multipart from "./multipart.ts"
import * as Refusal from "./refusal.ts"
import { type Arrival, data, refuse, type Reply } from "./reply.ts"

export interface File {
  readonly id: string
  readonly object: "file"
  readonly bytes: number
  /** Unix time in seconds. */
  readonly created_at: number
  readonly filename: string
  readonly purpose: string
  readonly expires_at?: number
}

/** The service's limits. */
const limits = {
  bytes: 64 * 1024 * 1024,
  filename: 512,
  files: 10_000,
  total: 25 * 1024 * 1024 * 1024,
  page: 1_000,
  expiry: [3_600, 2_592_000]
} as const

/** A body may be this much longer than the file in it. */
const envelope = 64 * 1024

/** The longest body of an upload. */
export const maxBodyBytes: number = limits.bytes + envelope

const problem = (text: string) => Result.fail(Refusal.invalid(text))

type Checked<A> = Result.Result<A, Refusal.Refusal>

const textOf = (form: Multipart.Form, name: string): string | undefined => {
  const part = form.get(name)
  return part && Buffer.from(part.bytes).toString("utf8")
}

const expiryOf = (form: Multipart.Form): Checked<number | undefined> => {
  const anchor = textOf(form, "expires_after[anchor]")
  const seconds = textOf(form, "expires_after[seconds]")
  if (anchor === undefined && seconds === undefined) return Result.succeed(undefined)
  if (anchor !== "created_at") return problem("Invalid expires_after[anchor] value, it must be created_at")
  const [least, most] = limits.expiry
  const value = Number(seconds)
  return Number.isInteger(value) && value >= least && value <= most
    ? Result.succeed(value)
    : problem(`Invalid expires_after[seconds] value, the valid range is [${least}, ${most}]`)
}

const notFound = (id: string): Refusal.Refusal => Refusal.noFile(id)

const idOf = ({ request }: Arrival): string => {
  const path = request.path.replace(/\?.*$/s, "")
  return decodeURIComponent(path.slice(path.lastIndexOf("/") + 1))
}

const pageOf = (query: URLSearchParams) =>
  Result.gen(function*() {
    const limit = Number(query.get("limit") ?? limits.page)
    if (!Number.isInteger(limit) || limit < 1 || limit > limits.page) {
      return yield* problem(`Invalid limit value, the valid range of limit is [1, ${limits.page}]`)
    }
    const order = query.get("order") ?? "desc"
    if (order !== "asc" && order !== "desc") return yield* problem("Invalid order value, it must be asc or desc")
    return { limit, order, after: query.get("after"), purpose: query.get("purpose") }
  })

export const make = (keepAlive: number) => {
  const files = new Map<string, File>()
  let total = 0

  const remove = (file: File): void => {
    files.delete(file.id)
    total -= file.bytes
  }

  const expire = (now: number): void => {
    for (const file of files.values()) if (file.expires_at !== undefined && file.expires_at * 1_000 <= now) remove(file)
  }

  const uploaded = ({ draw, now, request }: Arrival): Checked<File> =>
    Result.gen(function*() {
      const form = Multipart.parse(request.headers["content-type"], request.body)
      if (typeof form === "string") return yield* problem(`Failed to parse the request body as a form: ${form}`)
      const file = form.get("file")
      if (file?.filename === undefined) return yield* problem("Missing the form's field file")
      const purpose = textOf(form, "purpose")
      if (purpose !== "user_data") return yield* problem("Invalid purpose value, it must be user_data")
      if (file.filename === "" || file.filename.length > limits.filename) {
        return yield* problem(`Invalid filename, it must have 1 to ${limits.filename} characters`)
      }
      const { length: bytes } = file.bytes
      if (bytes === 0) return yield* problem("The file is empty")
      if (bytes > limits.bytes) return yield* Result.fail(Refusal.tooLarge)
      if (files.size >= limits.files) return yield* problem(`Too many files, at most ${limits.files} are kept`)
      if (total + bytes > limits.total) return yield* problem("The account's files take too much space")
      const expiry = yield* expiryOf(form)
      const created = Math.floor(now / 1_000)
      return {
        id: `file-api-${Draw.uuid(draw)}`,
        object: "file",
        bytes,
        created_at: created,
        filename: file.filename,
        purpose,
        ...(expiry !== undefined && { expires_at: created + expiry })
      }
    })

  const listed = (query: URLSearchParams): Checked<unknown> =>
    Result.map(pageOf(query), ({ after, limit, order, purpose }) => {
      const all = Array.from(files.values()).filter((file) => purpose === null || file.purpose === purpose)
      if (order === "desc") all.reverse()
      // An id that is not there anymore has nothing after it.
      const from = after === null ? 0 : all.findIndex(({ id }) => id === after) + 1 || all.length
      const page = all.slice(from, from + limit)
      return {
        object: "list",
        data: page,
        first_id: page[0]?.id ?? null,
        last_id: page[page.length - 1]?.id ?? null,
        has_more: from + limit < all.length
      }
    })

  const reply = (arrival: Arrival, answer: Checked<unknown>): Reply =>
    Result.match(answer, {
      onFailure: (refusal) => refuse(refusal, arrival),
      onSuccess: (value) => data(value, arrival.fault, keepAlive)
    })

  const found = (arrival: Arrival): Checked<File> => {
    const id = idOf(arrival)
    const file = files.get(id)
    return file === undefined ? Result.fail(notFound(id)) : Result.succeed(file)
  }

  /** Only what has not expired is seen. */
  const fresh = (answer: (arrival: Arrival) => Checked<unknown>) => (arrival: Arrival): Reply => {
    expire(arrival.now)
    return reply(arrival, answer(arrival))
  }

  return {
    upload: fresh((arrival) =>
      arrival.request.body.length > maxBodyBytes ||
        Number(arrival.request.headers["content-length"] ?? 0) > maxBodyBytes
        ? Result.fail(Refusal.tooLarge)
        : Result.map(uploaded(arrival), (file) => {
          files.set(file.id, file)
          total += file.bytes
          return file
        })
    ),
    list: fresh(({ request }) => listed(new URL(request.path, "http://simulator.invalid").searchParams)),
    get: fresh(found),
    delete: fresh((arrival) =>
      Result.map(found(arrival), (file) => {
        remove(file)
        return { id: file.id, object: "file", deleted: true }
      })
    )
  }
}
