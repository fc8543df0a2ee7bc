/** JSON mode: an object of the shape that the prompt shows, by a JSON Schema, an example or a list of keys. */
import * as JsonSchema from "./jsonSchema.ts"
import * as Serde from "./serde.ts"
import * as Text from "./text.ts"

/** An answer for a prompt (all messages, newest last). */
export const answer = (prompt: string, context: JsonSchema.Context): unknown => {
  const shown = objectsIn(prompt.slice(0, 65_536))
  const schema = shown.map(JsonSchema.schemaOf).find((schema) => schema !== undefined)
  if (schema !== undefined) return JsonSchema.sample(schema, "answer", context)
  const example = shown.filter((object) => Object.keys(object).length > 0).sort((a, b) => size(b) - size(a))[0]
  if (example !== undefined) return like(example, "answer", context)
  const keys = keysIn(prompt)
  if (keys.length > 0) return Object.fromEntries(keys.map((key) => [key, guess(key, context)]))
  return { answer: Text.sentence(context.about, context.draw) }
}

const size = (object: Serde.Fields) => JSON.stringify(object).length

/** Every JSON object that stands in a text, outermost only. */
const objectsIn = (text: string): ReadonlyArray<Serde.Fields> => {
  const found: Array<Serde.Fields> = []
  let from = text.indexOf("{")
  // Each try costs the length of its candidate; prompts with more braces than this are hardly examples.
  for (let tries = 0; from !== -1 && tries < 200; tries++) {
    const end = closing(text, from)
    const object = end === -1 ? undefined : parse(text.slice(from, end))
    if (object !== undefined) found.push(object)
    from = text.indexOf("{", object === undefined ? from + 1 : end)
  }
  return found
}

/** The index after the brace that closes the one at `from`, or -1. */
const closing = (text: string, from: number): number => {
  let depth = 0
  let quoted = false
  for (let i = from; i < text.length; i++) {
    const char = text[i]
    if (quoted) {
      if (char === "\\") i++
      else if (char === "\"") quoted = false
    } else if (char === "\"") quoted = true
    else if (char === "{") depth++
    else if (char === "}" && --depth === 0) return i + 1
  }
  return -1
}

const parse = (text: string): Serde.Fields | undefined => {
  try {
    const value: unknown = JSON.parse(text)
    return Serde.isFields(value) && !Serde.isTooDeep(value) ? value : undefined
  } catch {
    return undefined
  }
}

const typeNames: Record<string, (key: string, context: JsonSchema.Context) => unknown> = {
  string: (key, context) => JsonSchema.named(key, context),
  str: (key, context) => JsonSchema.named(key, context),
  number: (_, { draw }) => draw.int(1, 100),
  float: (_, { draw }) => draw.int(1, 100) / 10,
  integer: (_, { draw }) => draw.int(1, 100),
  int: (_, { draw }) => draw.int(1, 100),
  boolean: (_, { draw }) => draw.chance(0.5),
  bool: (_, { draw }) => draw.chance(0.5)
}

/** A value like the example: the same keys and types. Short words look like names of choices and stay, `a|b` is a choice. */
const like = (example: unknown, key: string, context: JsonSchema.Context, depth = 0): unknown => {
  const { draw } = context
  if (Array.isArray(example)) {
    const [item] = example
    const length = depth < 3 ? draw.int(1, 3) : 1
    return item === undefined ? [] : Array.from({ length }, () => like(item, key, context, depth + 1))
  }
  if (Serde.isFields(example)) {
    return Object.fromEntries(Object.entries(example).map(([name, value]) => [name, like(value, name, context, depth)]))
  }
  if (typeof example === "boolean") return draw.chance(0.5)
  if (typeof example === "number") {
    return Number.isInteger(example) ? draw.int(Math.min(0, example), Math.max(1, example * 2)) : example
  }
  return typeof example === "string" ? likeString(example, key, context) : example
}

const likeString = (example: string, key: string, context: JsonSchema.Context): unknown => {
  const typed = typeNames[example.replace(/[<>.]/g, "").toLowerCase()]
  if (typed !== undefined) return typed(key, context)
  const [choice, ...choices] = example.split("|").map((part) => part.trim())
  if (choice !== undefined && choices.length > 0) return context.draw.pick([choice, ...choices])
  return /^[\p{L}\p{N}_-]{1,24}$/u.test(example) ? example : JsonSchema.named(key, context)
}

/** Keys that a prompt asks for: quoted names, or a plain list, after a word like "keys" or "字段". */
const keysIn = (prompt: string): ReadonlyArray<string> => {
  const asked = /(?:\b(?:keys?|fields?|properties|attributes)\b|字段|键|属性)[^.。\n]{0,200}/iu.exec(prompt)?.[0]
  if (asked === undefined) return []
  const quoted = [...asked.matchAll(/["'`“「]([\p{L}_][\p{L}\p{N}_-]*)["'`”」]/gu)].flatMap(([, key]) => key ?? [])
  if (quoted.length > 0) return [...new Set(quoted)]
  const plain = asked.replace(/^\S+\s*:?\s*/, "").split(/\s*(?:,|;|、|，|\band\b|和)\s*/u)
  return [...new Set(plain.filter((key) => /^[\p{L}_][\p{L}\p{N}_-]*$/u.test(key)))]
}

/** What the name of a key alone tells about its value. */
const guess = (key: string, context: JsonSchema.Context): unknown => {
  const { about, draw } = context
  if (/^(is|has|can|should)[_A-Z]|是否/.test(key)) return draw.chance(0.5)
  if (/count|number|score|price|amount|total|age|year|rating|confidence|temperature|数量|价格|分数|年龄/i.test(key)) {
    return draw.int(1, 100)
  }
  if (/(tags|items|list|steps|keywords|topics|options|names|列表|标签|步骤|关键词)$/i.test(key)) {
    return about.topics.slice(0, 3)
  }
  return JsonSchema.named(key, context)
}
