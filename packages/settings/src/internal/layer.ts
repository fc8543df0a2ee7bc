/**
 * One content of a source as a tree of values that knows the place of each, and the merge of several.
 */
import * as Yaml from "yaml"
import type { Problem } from "../SettingsRefused.ts"
import type { Content, Document, Entries } from "../Source.ts"
import { maximumSize } from "./file.ts"

export type Path = ReadonlyArray<PropertyKey>
export type Tree = { readonly [key: string]: unknown }
export type Place = Pick<Problem, "source" | "line" | "column">

/** Text whose type the schema tells: from the environment, or put in by a reference. */
export class Text {
  readonly value: string
  /** What messages show in its place. */
  readonly shown: string
  constructor(value: string, shown: string) {
    this.value = value
    this.shown = shown
  }
}

export interface Layer {
  readonly name: string
  readonly tree: Tree
  readonly folder: string | undefined
  /** The place of a value, or of its key, or of the nearest one above that this layer has. */
  readonly locate: (path: Path, of: "key" | "value") => Place
}

/** What is nested deeper is a mistake, and could overflow the stack of what walks it. */
const maximumDepth = 100

const depthExceeds = (value: unknown, limit: number): boolean =>
  typeof value === "object" && value !== null &&
  (limit === 0 || Object.values(value).some((item) => depthExceeds(item, limit - 1)))

interface Fault {
  readonly offset: number
  readonly reason: string
}

/** Aliases of anchors that are missing, and those within their own anchor, whose value would have no end. */
const wrongAliases = (document: Yaml.Document): ReadonlyArray<Fault> => {
  const anchors = new Map<string, Yaml.Node>()
  const wrong: Array<Fault> = []
  Yaml.visit(document, {
    Value: (_, node) => void (node.anchor !== undefined && anchors.set(node.anchor, node)),
    Alias: (_, { range, source }, above) => {
      const node = anchors.get(source)
      if (node === undefined) wrong.push({ offset: range?.[0] ?? 0, reason: `there is no anchor &${source} above it` })
      else if (above.includes(node)) wrong.push({ offset: range?.[0] ?? 0, reason: `*${source} contains itself` })
    }
  })
  return wrong
}

/** The first ones: after a mistake, the parser takes much for another. */
const syntaxFaults = ({ errors, warnings }: Yaml.Document): ReadonlyArray<Fault> => {
  const faults = new Map<string, Fault>()
  for (const { code, message, pos: [offset] } of [...errors, ...warnings]) {
    const reason = code === "MULTIPLE_DOCS"
      ? "a second document begins here; there can be one only"
      : message.includes("call stack")
      ? "nested too deeply"
      : message
    faults.set(`${offset} ${reason}`, { offset, reason })
  }
  return Array.from(faults.values()).slice(0, 10)
}

export const isTree = (u: unknown): u is Tree =>
  typeof u === "object" && u !== null && !Array.isArray(u) && !(u instanceof Text)

/** Shows a path: `routes.gpt-4.targets[0]`. */
export const showPath = (path: Path): string =>
  path.map((key, i) => typeof key === "number" ? `[${key}]` : i === 0 ? String(key) : `.${String(key)}`).join("")

const isProblem = (u: Layer | ReadonlyArray<Problem>): u is ReadonlyArray<Problem> => Array.isArray(u)

const parseDocument = ({ folder, name, text }: Document): Layer | ReadonlyArray<Problem> => {
  const problem = (place: Partial<Place>, reason: string): Problem => ({
    source: name,
    line: undefined,
    column: undefined,
    path: "",
    ...place,
    reason
  })
  if (text.length > maximumSize) return [problem({}, `is longer than ${maximumSize} characters`)]
  const lineCounter = new Yaml.LineCounter()
  const document = Yaml.parseDocument(text, { lineCounter, prettyErrors: false })
  const at = (offset: number): Place => {
    const { col, line } = lineCounter.linePos(offset)
    return { source: name, line, column: col }
  }
  let value: unknown
  try {
    const faults = syntaxFaults(document)
    const wrong = faults.length > 0 ? faults : wrongAliases(document)
    if (wrong.length > 0) return wrong.map(({ offset, reason }) => problem(at(offset), `syntax: ${reason}`))
    value = document.toJS({ maxAliasCount: 100 })
  } catch (error) {
    return [problem({}, `syntax: ${error instanceof Error ? error.message : String(error)}`)]
  }
  const resolve = (node: unknown) => Yaml.isAlias(node) ? node.resolve(document) : node
  const locate = (path: Path, of: "key" | "value"): Place => {
    let node: unknown = document.contents
    let place = path.length === 0 ? at(0) : undefined
    for (const [i, key] of path.entries()) {
      const parent = resolve(node)
      if (Yaml.isMap(parent)) {
        const pair = parent.items.find((item) =>
          String(Yaml.isScalar(item.key) ? item.key.value : item.key) === String(key)
        )
        if (pair === undefined) break
        node = pair.value
        const shown = of === "key" || i < path.length - 1 || !Yaml.isNode(node) ? pair.key : node
        if (Yaml.isNode(shown) && shown.range) place = at(shown.range[0])
      } else if (Yaml.isSeq(parent)) {
        node = parent.items[Number(key)]
        if (!Yaml.isNode(node)) break
        if (node.range) place = at(node.range[0])
      } else break
    }
    return place ?? { source: name, line: undefined, column: undefined }
  }
  if (value === null) return { name, tree: {}, folder, locate }
  if (!isTree(value)) return [problem(at(0), "expected a map of settings at the top")]
  if (depthExceeds(value, maximumDepth)) return [problem({}, `is nested deeper than ${maximumDepth} levels`)]
  return { name, tree: value, folder, locate }
}

const put = (tree: Tree, path: ReadonlyArray<string>, value: unknown): Tree => {
  const [key, ...rest] = path
  if (key === undefined) return tree
  const below = Object.hasOwn(tree, key) ? tree[key] : undefined
  // `Object.fromEntries` defines keys, so that `__proto__` is a key like any other.
  return Object.fromEntries([
    ...Object.entries(tree),
    [key, rest.length === 0 ? value : put(isTree(below) ? below : {}, rest, value)]
  ])
}

const fromEntries = (source: string, { entries }: Entries): Layer => ({
  name: source,
  tree: entries.reduce(
    (tree: Tree, { name, path, text, value }) =>
      put(tree, path, text && typeof value === "string" ? new Text(value, `the text of ${name}`) : value),
    {}
  ),
  folder: undefined,
  locate: (path) => {
    const entry = entries.findLast((entry) => entry.path.every((key, i) => i >= path.length || key === String(path[i])))
    return { source: entry?.name ?? source, line: undefined, column: undefined }
  }
})

/** Reads the contents of a source into layers. */
export const parse = (
  source: string,
  contents: ReadonlyArray<Content>
): { readonly layers: ReadonlyArray<Layer>; readonly problems: ReadonlyArray<Problem> } => {
  const parsed = contents.map((content) =>
    content._tag === "Document" ? parseDocument(content) : fromEntries(source, content)
  )
  return {
    layers: parsed.filter((part): part is Layer => !isProblem(part)),
    problems: parsed.filter(isProblem).flat()
  }
}

/** Merges two trees: maps merge, lists and single values replace. A section without anything in it changes nothing. */
export const merge = (under: Tree, over: Tree): Tree =>
  Object.fromEntries([
    ...Object.entries(under).map(([key, value]) => {
      if (!Object.hasOwn(over, key)) return [key, value]
      const other = over[key]
      if (!isTree(value)) return [key, other]
      return [key, other === null ? value : isTree(other) ? merge(value, other) : other]
    }),
    ...Object.entries(over).filter(([key]) => !Object.hasOwn(under, key))
  ])

const below = (value: unknown, key: PropertyKey): unknown =>
  Array.isArray(value)
    ? value[Number(key)]
    : isTree(value) && Object.hasOwn(value, key)
    ? value[String(key)]
    : undefined

/** How many keys of a path a layer has. */
const depth = (layer: Layer, path: Path): number => {
  let value: unknown = layer.tree
  for (const [i, key] of path.entries()) {
    value = below(value, key)
    if (value === undefined) return i
  }
  return path.length
}

/** The layer that a merged value comes from: the last one that has most of its path. */
export const origin = (layers: ReadonlyArray<Layer>, path: Path): Layer | undefined => {
  let best: Layer | undefined
  let most = -1
  for (const layer of layers) {
    const reached = depth(layer, path)
    if (reached >= most) {
      best = layer
      most = reached
    }
  }
  return best
}

/** The value at a path. */
export const valueAt = (tree: unknown, path: Path): unknown => path.reduce(below, tree)
