/**
 * The fenced code blocks of the documents and of the docstrings.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"

export const root = Path.resolve(import.meta.dirname, "../..")

export interface Snippet {
  /** Path of the document from the root, and the line of the fence. */
  readonly file: string
  readonly line: number
  /** The first word after the fence, and whether `no-run` follows it. */
  readonly language: string
  readonly runs: boolean
  readonly code: string
}

const fence = /^```(\w*)([^\n]*)\n([\s\S]*?)^```$/gm

const parse = (file: string, text: string): Array<Snippet> =>
  Array.from(text.matchAll(fence), ({ 1: language = "", 2: info = "", 3: code = "", index }) => ({
    file,
    line: text.slice(0, index).split("\n").length,
    language,
    runs: !info.split(" ").includes("no-run"),
    code
  }))

/** Blanks the code of a module and unwraps its docstrings, line by line. */
const docstrings = (source: string): string => {
  let inside = false
  return source.split("\n").map((line) => {
    if (line.trimStart().startsWith("/**")) inside = true
    const text = inside ? line.replace(/^\s*\* ?/, "") : ""
    if (line.includes("*/")) inside = false
    return text
  }).join("\n")
}

/** The code blocks of one document or module. */
export const snippetsOf = (file: string): Array<Snippet> => {
  const text = Fs.readFileSync(Path.join(root, file), "utf8")
  return parse(file, file.endsWith(".ts") ? docstrings(text) : text)
}

/** Every document and every public module. */
export const documents: ReadonlyArray<string> = Fs.globSync(
  ["*.md", "docs/**/*.md", "{packages,examples}/*/README.md", "bench/README.md", "packages/*/src/**/*.ts"],
  { cwd: root }
).sort()

/** Every code block, once. */
export const snippets: ReadonlyArray<Snippet> = documents.flatMap(snippetsOf).filter((snippet, index, all) =>
  index ===
    all.findIndex(({ code, language, runs }) =>
      code === snippet.code && language === snippet.language && runs === snippet.runs
    )
)
