import { hasProperty, isNumber, isString } from "effect/Predicate"

/** What a service says about an error, in whichever shape it does. */
export interface Stated {
  /** Its words, as they came; absent where it has none. */
  readonly message: string | undefined
  /** Its codes and types, the most telling first. */
  readonly codes: ReadonlyArray<string>
}

/** Elements of a list that are read, and how deep errors may stand in each other. */
const [maxItems, maxDepth] = [3, 4]

/**
 * The error that JSON states, if it does. The shapes, and who sends them:
 *
 * | JSON | from |
 * |---|---|
 * | `{"error":{"message","type","code"}}` | OpenAI and most others; `code` or `status_code` may be a status |
 * | `{"error":{"message","metadata":{"raw"}}}` | OpenRouter; `raw` is the provider's own answer, as text |
 * | `{"error":"…"}`, `{"error":[…]}` | Ollama, Hugging Face, Cloudflare |
 * | `{"error":"Bad Request","message":"…"}`, `{"error":"…","error_description"}` | NestJS, Spring, OAuth |
 * | `{"detail":"…"}`, `{"detail":[{"loc","msg"}]}` | FastAPI |
 * | `{"code","message","data"}`, `{"message"}`, `{"error_code","message"}` | SiliconFlow, Model Studio, Databricks, proxies |
 * | `[{"error":…}]` | Google |
 * | `{"base_resp":{"status_code","status_msg"}}` | MiniMax |
 * | `{"title","detail"}`, `{"title","errors":{"field":["…"]}}` | problem details, RFC 9457; ASP.NET |
 *
 * A text alone, and words without a code, state an error only where the status does: `isError` says whether it does.
 */
export const stated = (json: unknown, isError: boolean, depth = 0): Stated | undefined => {
  if (isWords(json)) return isError ? { message: json, codes: [] } : undefined
  if (Array.isArray(json)) {
    return depth === maxDepth ? undefined : first(json.slice(0, maxItems), (item) => stated(item, isError, depth + 1))
  }
  if (typeof json !== "object" || json === null) return undefined
  if (hasProperty(json, "error") && json.error != null) return ofError(json.error, json)
  if (hasProperty(json, "base_resp")) return ofBaseResp(json.base_resp)
  if (hasProperty(json, "errors") && Array.isArray(json.errors)) return within(json.errors, codesOf(json), 0)
  const message = joined(messageOf(json, 0), hasProperty(json, "errors") ? fieldsOf(json.errors) : undefined)
  const codes = codesOf(json)
  return message !== undefined && (isError || codes.length > 0) ? { message, codes } : undefined
}

/** An error that is a text alone may be the name of the status, with the words beside it. */
const ofError = (error: unknown, around: object): Stated => {
  const { codes, message } = within(error, codesOf(around), 0)
  if (isWords(error)) return { message: joined(message, messageOf({ ...around, error: undefined }, 0)), codes }
  const raw = rawOf(error)
  const provider = raw === undefined ? undefined : stated(parse(raw), true)
  return provider === undefined
    ? { message: joined(message, raw), codes }
    : { message: joined(message, provider.message), codes: [...provider.codes, ...codes] }
}

/** What a router's provider has answered, unless it is a page. */
const rawOf = (error: unknown): string | undefined => {
  const raw = hasProperty(error, "metadata") && hasProperty(error.metadata, "raw") ? error.metadata.raw : undefined
  return isWords(raw) && !raw.trimStart().startsWith("<") ? raw : undefined
}

/** Nothing where a text is no JSON. */
const parse = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

const joined = (first: string | undefined, second: string | undefined): string | undefined =>
  first === undefined || second === undefined || second.includes(first)
    ? second ?? first
    : first.includes(second)
    ? first
    : `${first}: ${second}`

/** Mistakes by the names of fields. */
const fieldsOf = (errors: unknown): string | undefined =>
  typeof errors === "object" && errors !== null ? wordsOf(Object.values(errors), 0) : undefined

const within = (error: unknown, outer: ReadonlyArray<string>, depth: number): Stated => {
  const inner = Array.isArray(error) ? error.slice(0, maxItems).flatMap(codesOf) : codesOf(error)
  return { message: wordsOf(error, depth), codes: [...inner, ...outer] }
}

const ofBaseResp = (response: unknown): Stated | undefined => {
  const code = hasProperty(response, "status_code") ? asCode(response.status_code) : undefined
  if (code === undefined) return undefined
  return { message: hasProperty(response, "status_msg") ? wordsOf(response.status_msg, 0) : undefined, codes: [code] }
}

/** The words in a text, a list or an object. */
const wordsOf = (u: unknown, depth: number): string | undefined => {
  if (isWords(u)) return u
  if (depth > maxDepth || typeof u !== "object" || u === null) return undefined
  if (!Array.isArray(u)) return messageOf(u, depth + 1)
  const all = u.slice(0, maxItems).flatMap((item) => {
    const words = wordsOf(item, depth + 1)
    return words === undefined ? [] : [placed(item, words)]
  })
  return all.length === 0 ? undefined : all.join("; ")
}

/** FastAPI says where it found a mistake. */
const placed = (item: unknown, words: string): string => {
  if (!hasProperty(item, "loc") || !Array.isArray(item.loc)) return words
  const path = item.loc.slice(0, 8).filter((part) => isNumber(part) || (isString(part) && part.length <= 64))
  return path.length === 0 ? words : `${path.join(".")}: ${words}`
}

const messageOf = (u: object, depth: number): string | undefined =>
  first(
    [
      "message",
      "msg",
      "detail",
      "error",
      "error_msg",
      "error_message",
      "error_description",
      "errmsg",
      "Message",
      "title"
    ],
    (name) => hasProperty(u, name) ? wordsOf(u[name], depth) : undefined
  )

const codesOf = (u: unknown): ReadonlyArray<string> =>
  ["code", "error_code", "errcode", "type", "error_type", "reason", "status_code", "status"].flatMap((name) => {
    const code = hasProperty(u, name) ? asCode(u[name]) : undefined
    return code === undefined ? [] : [code]
  })

/** A short error code; undefined for zero and for codes of success. */
const asCode = (u: unknown): string | undefined => {
  const code = isString(u) || isNumber(u) ? String(u) : ""
  return code === "" || code.length > 128 || /^(?:0|200|ok|success)$/i.test(code) ? undefined : code
}

const isWords = (u: unknown): u is string => isString(u) && u.trimStart() !== ""

const first = <A, B>(items: ReadonlyArray<A>, f: (item: A) => B | undefined): B | undefined => {
  for (const item of items) {
    const found = f(item)
    if (found !== undefined) return found
  }
  return undefined
}
