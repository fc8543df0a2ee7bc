/**
 * Expressions in the texts of a workflow: CEL inside `${…}`.
 *
 * A text that is one expression has its value, whatever its type; a text with expressions in it is a text, with each value written into it.
 * `$${` stands for `${` itself. Expressions see:
 *
 * | name | what |
 * |---|---|
 * | `input` | the input of the run |
 * | `output` | the output of the step before; in the first step, the input |
 * | `steps.<id>.output` | the output of a step that has ended; null when it was skipped |
 * | `item`, `index` | in a step with `forEach`: the element, and its position from 0 |
 * | `env` | variables of the environment that the program gives to workflows |
 * | `run` | `id`, `workflow` |
 * | `error` | in steps of `onError`: `step` and `message` of the failure; in `finally`: the same of a run that failed, else null |
 *
 * Numbers are those of JSON: `output.amount + 1` works, `7 / 2` of two outputs is `3.5`. Nothing but CEL runs: no other code, no loops without an
 * end, at most 500 nodes and 4,096 characters.
 *
 * @see {@link https://github.com/google/cel-spec/blob/master/doc/langdef.md}
 * @since 0.1.0
 */
import { Environment, type ParseResult } from "@marcbachmann/cel-js"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"

/**
 * An expression that is wrong, or that has no value for what it was given.
 *
 * @category errors
 * @since 0.1.0
 */
export class WrongExpression extends Schema.TaggedError<WrongExpression>()("WrongExpression", {
  expression: Schema.String,
  detail: Schema.String
}) {
  override get message() {
    return `The expression ${this.expression} can not be evaluated: ${this.detail}`
  }
}

/**
 * What an expression sees, as JSON.
 *
 * @category models
 * @since 0.1.0
 */
export interface Scope {
  readonly input: unknown
  readonly output: unknown
  readonly steps: Readonly<Record<string, { readonly output: unknown }>>
  readonly env: Readonly<Record<string, string>>
  readonly run: { readonly id: string; readonly workflow: string }
  readonly item?: unknown
  readonly index?: number
  readonly error?: { readonly step: string; readonly message: string } | null
}

/**
 * A type as expressions know it: `dyn` where anything may be.
 *
 * @category models
 * @since 0.1.0
 */
export type Type = string | { readonly [field: string]: Type }

/**
 * What is known of the types when a workflow is checked.
 *
 * @category models
 * @since 0.1.0
 */
export interface Types {
  readonly input: Type
  readonly output: Type
  /** Steps that have ended when the expression is evaluated, by id; `dyn` where they are not known. */
  readonly steps: Readonly<Record<string, Type>> | "dyn"
  /** Whether there is an `item`. */
  readonly item: boolean
  /** That of `error`; undefined where there is none. */
  readonly error?: Type | undefined
}

/**
 * A compiled text.
 *
 * @category models
 * @since 0.1.0
 */
export interface Template {
  /** The type of the value: that of the expression, or `string`. */
  readonly type: string
  readonly evaluate: (scope: Scope) => Result.Result<unknown, WrongExpression>
}

const maxLength = 4096

type Operator = (a: number, b: number) => number

const operators: Readonly<Record<string, Operator>> = {
  "+": (a, b) => a + b,
  "-": (a, b) => a - b,
  "*": (a, b) => a * b,
  "/": (a, b) => a / b
}

/** Numbers of JSON are doubles; literals of CEL without a point are integers. Both together are doubles. */
const makeBase = () => {
  const base = new Environment({
    unlistedVariablesAreDyn: false,
    enableOptionalTypes: true,
    homogeneousAggregateLiterals: false,
    limits: { maxAstNodes: 500, maxDepth: 32 }
  })
  for (const [operator, apply] of Object.entries(operators)) {
    base.registerOperator(`int ${operator} double`, (a: bigint, b: number) => apply(Number(a), b))
    base.registerOperator(`double ${operator} int`, (a: number, b: bigint) => apply(a, Number(b)))
  }
  return base
}

const register = (environment: Environment, name: string, type: Type): Environment =>
  typeof type === "string"
    ? environment.registerVariable(name, type)
    : environment.registerVariable(name, { schema: type })

/**
 * The types of what is evaluated: what is there was checked before, so all may be anything.
 *
 * @category constants
 * @since 0.1.0
 */
export const untyped: Types = { input: "dyn", output: "dyn", steps: "dyn", item: true, error: "dyn" }

const environmentOf = ({ error, input, item, output, steps }: Types): Environment => {
  const types: Readonly<Record<string, Type>> = {
    input,
    output,
    env: "map<string, string>",
    run: { id: "string", workflow: "string" },
    steps: steps === "dyn"
      ? "dyn"
      : Object.fromEntries(Object.entries(steps).map(([id, output]) => [id, { output }])),
    ...item && { item: "dyn", index: "int" },
    ...error !== undefined && { error }
  }
  return Object.entries(types).reduce((environment, [name, type]) => register(environment, name, type), makeBase())
}

type Part = { readonly text: string } | { readonly expression: string }

/** The end of an expression that begins at `from`: its brace, which is not in a string and not of a map. */
const endOf = (text: string, from: number): number => {
  let depth = 0
  let quote = ""
  for (let i = from; i < text.length; i++) {
    const char = text[i] ?? ""
    if (quote !== "") {
      if (char === "\\") i++
      else if (char === quote) quote = ""
    } else if (char === "\"" || char === "'") quote = char
    else if (char === "{") depth++
    else if (char === "}" && depth-- === 0) return i
  }
  return -1
}

const partsOf = (text: string): ReadonlyArray<Part> | string => {
  const parts: Array<Part> = []
  let plain = ""
  for (let i = 0; i < text.length;) {
    if (text.startsWith("$${", i)) {
      plain += "${"
      i += 3
    } else if (text.startsWith("${", i)) {
      const end = endOf(text, i + 2)
      if (end === -1) return "${ without its }"
      if (plain !== "") parts.push({ text: plain })
      plain = ""
      parts.push({ expression: text.slice(i + 2, end).trim() })
      i = end + 1
    } else plain += text[i++]
  }
  if (plain !== "") parts.push({ text: plain })
  return parts
}

/**
 * Whether a text has an expression in it.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isTemplate = (text: string): boolean => /(^|[^$])\$\{|\$\$\{/.test(text)

/** What the compiler says, without its picture of the place, and without its word for values of JSON. */
const detailOf = (error: unknown): string =>
  ((error instanceof Error ? error.message : String(error)).split("\n", 1)[0] ?? "").replace(/\bdyn<(\w+)>/g, "$1")

const compileOne = (environment: Environment, expression: string): ParseResult => {
  if (expression === "") throw new RangeError("there is nothing between ${ and }")
  if (expression.length > maxLength) throw new RangeError(`it is longer than ${maxLength} characters`)
  const parsed = environment.parse(expression)
  const { error, valid } = parsed.check()
  if (!valid) throw error ?? new TypeError("its types do not fit")
  return parsed
}

/** Makes maps of objects that have a field `constructor`, from which CEL would read their type. A value without such objects comes back as it is. */
const withMaps = (value: unknown): unknown => {
  if (typeof value !== "object" || value === null) return value
  if (Array.isArray(value)) {
    const items = value.map(withMaps)
    return items.some((item, index) => item !== value[index]) ? items : value
  }
  const before = Object.entries(value)
  const entries = before.map(([key, item]) => [key, withMaps(item)] as const)
  if (Object.hasOwn(value, "constructor")) return new Map(entries)
  return entries.some(([, item], index) => item !== before[index]?.[1]) ? Object.fromEntries(entries) : value
}

const evaluated = (parsed: ParseResult, given: Record<string, unknown>): unknown => {
  try {
    return parsed(given)
  } catch (error) {
    const others = Object.entries(given).map(([name, value]) => [name, withMaps(value)] as const)
    if (others.every(([name, value]) => value === given[name])) throw error
    return parsed(Object.fromEntries(others))
  }
}

/** A value of CEL as JSON has it. */
const toJson = (value: unknown): unknown => {
  if (typeof value === "bigint") return Number(value)
  if (value instanceof Date) return value.toISOString()
  if (Array.isArray(value)) return value.map(toJson)
  if (value instanceof Map) return Object.fromEntries(Array.from(value, ([key, item]) => [String(key), toJson(item)]))
  if (typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype) {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, toJson(item)]))
  }
  return value
}

/** A value inside a text. */
const shown = (value: unknown): string =>
  typeof value === "string" ? value : value === undefined ? "" : JSON.stringify(value)

/**
 * Compiles a text; `undefined` for one without an expression.
 *
 * @category constructors
 * @since 0.1.0
 */
export const compile = (text: string, types: Types): Result.Result<Template | undefined, WrongExpression> => {
  if (!isTemplate(text)) return Result.succeed(undefined)
  const wrong = (expression: string, detail: string) =>
    new WrongExpression({ expression: expression.slice(0, maxLength), detail })
  const parts = partsOf(text)
  if (typeof parts === "string") return Result.fail(wrong(text, parts))
  const environment = environmentOf(types)
  const compiled: Array<string | { readonly expression: string; readonly parsed: ParseResult }> = []
  for (const part of parts) {
    if ("text" in part) compiled.push(part.text)
    else {
      const { expression } = part
      const parsed = Result.try({
        try: () => compileOne(environment, expression),
        catch: (error) => wrong(expression, detailOf(error))
      })
      if (Result.isFailure(parsed)) return Result.fail(parsed.failure)
      compiled.push({ expression, parsed: parsed.success })
    }
  }
  const value = (part: (typeof compiled)[number], scope: Scope): Result.Result<unknown, WrongExpression> =>
    typeof part === "string" ? Result.succeed(part) : Result.try({
      try: () => toJson(evaluated(part.parsed, { ...scope, index: BigInt(scope.index ?? 0) })),
      catch: (error) => wrong(part.expression, detailOf(error))
    })
  const [only] = compiled
  if (only !== undefined && typeof only !== "string" && compiled.length === 1) {
    return Result.succeed({ type: String(only.parsed.check().type), evaluate: (scope) => value(only, scope) })
  }
  return Result.succeed({
    type: "string",
    evaluate: (scope) =>
      Result.map(Result.all(compiled.map((part) => value(part, scope))), (values) => values.map(shown).join(""))
  })
}
