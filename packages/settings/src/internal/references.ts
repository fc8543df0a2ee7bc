/**
 * Replaces `${env:NAME}`, `${env:NAME:default}` and `${file:PATH}` in every text of a tree. `$${` stands for `${` itself. What is put
 * in is never searched again. `${` without its `}` is refused. The end of line of a file is not part of its text.
 */
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import { isAbsolute, join } from "node:path"
import type { Problem } from "../SettingsRefused.ts"
import { describe, read, type State } from "./file.ts"
import { isTree, type Layer, origin, type Path, showPath, Text, type Tree } from "./layer.ts"

const reference = /\$\$\{|\$\{([^{}]*)\}|\$\{/g

/** Text by reference, or what is wrong. */
type Found = { readonly text: string } | { readonly wrong: string }

const foundIn = (path: string, state: State): Found =>
  state._tag === "Text" ? { text: state.text.replace(/\r?\n$/, "") } : { wrong: `the file ${path} ${describe(state)}` }

const fromEnvironment = (rest: string) =>
  Effect.gen(function*() {
    const [name = "", ...more] = rest.split(":")
    const provider = yield* ConfigProvider.ConfigProvider
    const node = yield* Effect.orElseSucceed(provider.load([name]), () => undefined)
    const text = node?.value ?? (more.length > 0 ? more.join(":") : undefined)
    return text === undefined ? { wrong: `the environment variable ${name} is not set` } : { text }
  })

const unclosed: Found = {
  wrong: "${ begins a reference that no } ends; references do not nest, and $${ stands for ${ itself"
}

export interface Resolved {
  readonly tree: unknown
  /** What was found in the files that are referred to. */
  readonly files: ReadonlyMap<string, State>
  readonly problems: ReadonlyArray<Problem>
}

/** Replaces all references of a merged tree. */
export const resolve = Effect.fnUntraced(function*(layers: ReadonlyArray<Layer>, tree: Tree) {
  const files = new Map<string, State>()
  const problems: Array<Problem> = []

  const look = (body: string, folder: string | undefined): Effect.Effect<Found, never, FileSystem.FileSystem> => {
    const [kind, rest] = [body.slice(0, body.indexOf(":")), body.slice(body.indexOf(":") + 1)]
    if (kind === "env" && rest !== "") return fromEnvironment(rest)
    if (kind === "file" && rest !== "") {
      const path = isAbsolute(rest) || folder === undefined ? rest : join(folder, rest)
      return Effect.map(read(path), (state) => {
        files.set(path, state)
        return foundIn(path, state)
      })
    }
    return Effect.succeed({
      wrong: `\${${body}} is no reference; write \${env:NAME}, \${env:NAME:default} or \${file:PATH}`
    })
  }

  const replace = Effect.fnUntraced(function*(text: string, path: Path) {
    const layer = origin(layers, path)
    let out = ""
    let end = 0
    for (const { 0: whole, 1: body, index } of text.matchAll(reference)) {
      out += text.slice(end, index)
      end = index + whole.length
      if (whole === "$${") {
        out += "${"
        continue
      }
      const found = body === undefined ? unclosed : yield* look(body, layer?.folder)
      if ("text" in found) out += found.text
      else {
        const place = layer?.locate(path, "value") ?? { source: "settings", line: undefined, column: undefined }
        problems.push({ ...place, path: showPath(path), reason: found.wrong })
      }
    }
    return new Text(out + text.slice(end), `the text of ${text}`)
  })

  const walk = (value: unknown, path: Path): Effect.Effect<unknown, never, FileSystem.FileSystem> => {
    const text = value instanceof Text ? value.value : value
    if (typeof text === "string") return text.includes("${") ? replace(text, path) : Effect.succeed(value)
    if (Array.isArray(value)) return Effect.forEach(value, (item, i) => walk(item, [...path, i]))
    if (!isTree(value)) return Effect.succeed(value)
    return Effect.map(
      Effect.forEach(
        Object.entries(value),
        ([key, item]) => Effect.map(walk(item, [...path, key]), (done) => [key, done] as const)
      ),
      Object.fromEntries
    )
  }

  return { tree: yield* walk(tree, []), files, problems } satisfies Resolved
})
