/** Values of JSON whose texts may hold expressions. */
import * as Result from "effect/Result"
import * as Expression from "../Expression.ts"

const all = (
  values: ReadonlyArray<unknown>,
  scope: Expression.Scope
): Result.Result<Array<unknown>, Expression.WrongExpression> =>
  Result.all(values.map((value) => evaluate(value, scope)))

/** The value with the values of its expressions. */
export const evaluate = (
  value: unknown,
  scope: Expression.Scope
): Result.Result<unknown, Expression.WrongExpression> => {
  if (typeof value === "string") {
    return Result.flatMap(
      compiled(value),
      (template) => template === undefined ? Result.succeed(value) : template.evaluate(scope)
    )
  }
  if (Array.isArray(value)) return all(value, scope)
  if (typeof value !== "object" || value === null) return Result.succeed(value)
  return Result.map(
    all(Object.values(value), scope),
    (items) => Object.fromEntries(Object.keys(value).map((key, index) => [key, items[index]]))
  )
}

/** Characters of texts that are kept. */
const capacity = 4 * 1024 * 1024

const known = new Map<string, ReturnType<typeof Expression.compile>>()
let size = 0

/** A text is compiled once: its types were checked when its file was read. */
const compiled = (text: string): ReturnType<typeof Expression.compile> => {
  if (!Expression.isTemplate(text)) return Result.succeed(undefined)
  let found = known.get(text)
  if (found === undefined) {
    found = Expression.compile(text, Expression.untyped)
    known.set(text, found)
    size += text.length
    for (const oldest of known.keys()) {
      if (size <= capacity) break
      known.delete(oldest)
      size -= oldest.length
    }
  }
  return found
}

/** The value as a text. */
export const text = (value: unknown): string => typeof value === "string" ? value : JSON.stringify(value) ?? ""
