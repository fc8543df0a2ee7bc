/** Values of JSON whose texts may hold expressions. */
import * as Result from "effect/Result"
import * as Expression from "../Expression.ts"

/** What a check may not know: everything is dynamic. */
const typesOf = (scope: Expression.Scope): Expression.Types => ({
  input: "dyn",
  output: "dyn",
  steps: Object.fromEntries(Object.keys(scope.steps).map((id) => [id, "dyn"])),
  item: "item" in scope
})

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
      Expression.compile(value, typesOf(scope)),
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

/** The value as a text. */
export const text = (value: unknown): string => typeof value === "string" ? value : JSON.stringify(value) ?? ""
