import { assert, describe, it } from "@effect/vitest"
import { Duration } from "effect"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { pages, read, sectionsOf } from "./support/pages.ts"

/** The modules that hold the defaults of each of a page's option tables, in order. */
const tied: Readonly<Record<string, ReadonlyArray<ReadonlyArray<string>>>> = {
  "adaptive-limit.md": [["AdaptiveLimit", "internal/concurrency/engine"]],
  "backoff.md": [["Backoff"]],
  "cache.md": [["Cache"]],
  "chaos.md": [["Chaos"]],
  "circuit-breaker.md": [["CircuitBreaker", "internal/circuit/settings"]],
  "concurrency-limit.md": [["ConcurrencyLimit", "internal/concurrency/engine"]],
  "deadline.md": [["Deadline"]],
  "degrade.md": [["Degrade"]],
  "fallback.md": [["Fallback"], ["Fallback"]],
  "hedge.md": [["Hedge"]],
  "load-shed.md": [["LoadShed"]],
  "rate-limiter.md": [["internal/rate/options"]],
  "retry-budget.md": [["RetryBudget"], ["RetryBudget"]],
  "retry.md": [["Retry"]],
  "shared-circuit-breaker.md": [
    ["SharedCircuitBreaker", "internal/keyed", "internal/keyedModel"],
    ["CircuitBreakerStore", "internal/circuit/memoryStore", "internal/circuit/redisStore"]
  ],
  "shared-rate-limiter.md": [["internal/rate/options", "internal/rate/sharedOptions"]],
  "single-flight.md": [["SingleFlight"]],
  "testing.md": [["Testing"]],
  "throttle.md": [["Throttle"]]
}

/** Pages whose tables have no defaults that a module states as such: `Policy.common` takes those of its parts. */
const untied = ["outcome.md", "policy.md"]

/** Defaults that a table tells in words of its own, or the text beside it, by page. */
const inWords: Readonly<Record<string, ReadonlyArray<string>>> = {
  // A second `factor`, and the name of the last good answers.
  "backoff.md": ["spread"],
  "fallback.md": ["lastGood"],
  // Computed by a function.
  "deadline.md": ["leastRate.weigh"],
  "retry-budget.md": ["costOf"],
  // Below the table, in what differs from the circuit breaker.
  "shared-circuit-breaker.md": ["probeTimeout"],
  // From the smallest to the largest.
  "testing.md": ["budgets", "smallest", "largest"]
}

/** Options without a docstring of their own; those of the constructors that take them tell of them. */
const ofParameters: Readonly<Record<string, ReadonlyArray<string>>> = { "backoff.md": ["factor"] }

const sourceOf = (module: string) => Fs.readFileSync(Path.join(import.meta.dirname, `../src/${module}.ts`), "utf8")

const unquoted = (text: string) => text.replace(/^[`"]+/, "")

/** The value that a text begins with, in code or in prose; durations in milliseconds, and a word where it is neither. */
const valueOf = (text: string): number | string => {
  const bare = unquoted(text)
  if (/^zero\b/.test(bare)) return 0
  if (/^(Duration\.)?infinity\b/i.test(bare)) return Infinity
  const [, digits, unit] = /^(\d{1,3}(?:[,_]\d{3})*(?:\.\d+)?)(?: ?([a-z]+))?/.exec(bare) ?? []
  if (digits === undefined) return /^[\w.-]+(:\w+)?/.exec(bare)?.[0] ?? ""
  const number = Number(digits.replaceAll(/[,_]/g, ""))
  const time = /^(?:ms|milliseconds)$/.test(unit ?? "") ? "millis" : unit
  const duration = /^(?:millis|seconds?|minutes?|hours?|days?)$/.test(time ?? "") ? `${number} ${time}` : number
  return Duration.toMillis(Duration.fromInputUnsafe(duration as Duration.Input))
}

/** Whether an expression is a value that can be told, and no function or the like. */
const isLiteral = (code: string) =>
  /^(?:["\d]|true$|false$|Infinity$|Duration\.infinity$|Outcome\.classify$)/.test(code)

/** Whether a default on a page names a value, and not how it comes about. */
const isStated = (cell: string) =>
  typeof valueOf(cell) === "number" || /^`(?:"|true|false|Outcome\.classify)/.test(cell)

/** The expressions of the defaults of a module by option. */
const defaultsOf = (module: string): ReadonlyArray<readonly [option: string, code: string]> =>
  Array.from(sourceOf(module).matchAll(/^(?:export )?const \w*[dD]efaults = \{([^}]*)\}/gm), ([, body = ""]) => body)
    .flatMap((body) => body.split(","))
    .flatMap((entry) => {
      const [, option, code] = /^\s*(\w+)(?:: (.+?))?\s*$/.exec(entry) ?? []
      return option === undefined ? [] : [[option, code ?? option] as const]
    })

/** What the docstrings of a module say of the defaults of options. */
const docsOf = (module: string): ReadonlyArray<readonly [option: string, said: string]> =>
  Array.from(
    sourceOf(module).matchAll(/\/\*\*((?:(?!\*\/)[^])*)\*\/\s*readonly (\w+)\??:/g),
    ([, doc = "", option = ""]) => {
      const [, said] = /\bDefault:? (.+)/.exec(doc.replaceAll(/\s*\n\s*\* /g, " ")) ?? []
      return said === undefined ? undefined : [option, said] as const
    }
  ).filter((said) => said !== undefined)

type Row = readonly [option: string, said: string]

/** The options and defaults of each table that has them. */
const tablesOf = (page: string): ReadonlyArray<ReadonlyArray<Row>> =>
  (sectionsOf(read(page)).get("Options") ?? "").split(/\n\n/).flatMap((block) => {
    const [header = [], , ...rows] = block.trim().split("\n").map((line) =>
      line.split(/(?<!\\)\|/).map((cell) => cell.trim())
    )
    const at = header.indexOf("default")
    return at < 0 ? [] : [rows.flatMap((cells) => rowsOf(cells[1] ?? "", cells[at] ?? ""))]
  })

/** A row may be of several options, whose defaults stand side by side, or of what is no option or told elsewhere. */
const rowsOf = (names: string, said: string): ReadonlyArray<Row> => {
  if (!names.startsWith("`") || said === "") return []
  const options = Array.from(names.matchAll(/`([\w.]+)`/g), ([, option = ""]) => option)
  const parts = said.split("; ")
  return options.map((option, index) => [option, (options.length === 1 ? said : parts[index]) ?? ""])
}

const told = (page: string, option: string) => inWords[page]?.includes(option) === true

describe("the defaults", () => {
  it("of all pages are tied to modules", () => {
    assert.deepStrictEqual([...Object.keys(tied), ...untied].sort(), pages)
  })

  for (const [page, modules] of Object.entries(tied)) {
    const tables = tablesOf(page)

    it(`${page} says what the code does`, () => {
      assert.strictEqual(tables.length, modules.length)
      tables.forEach((rows, index) => {
        const defaults = new Map(modules[index]?.flatMap(defaultsOf))
        for (const [option, said] of rows) {
          if (told(page, option)) continue
          const code = defaults.get(option)
          if (code !== undefined && isLiteral(code)) assert.strictEqual(valueOf(said), valueOf(code), option)
          else assert.isFalse(isStated(said), `${option} has no default in the code: ${said}`)
        }
      })
    })

    it(`${page} leaves none out`, () => {
      const options = new Set(tables.flatMap((rows) => rows.map(([option]) => option)))
      const defaults = new Set(modules.flat().flatMap(defaultsOf).map(([option]) => option))
      assert.isAbove(defaults.size, 0)
      assert.deepStrictEqual(Array.from(defaults).filter((option) => !options.has(option) && !told(page, option)), [])
    })

    it(`${page} is of options whose docstrings say the same`, () => {
      for (const group of modules) {
        const docs = group.flatMap(docsOf)
        for (const [option, code] of group.flatMap(defaultsOf)) {
          if (!isLiteral(code) || told(page, option) || ofParameters[page]?.includes(option) === true) continue
          const said = docs.flatMap(([of, said]) => of === option ? [valueOf(said)] : [])
          assert.include(said, valueOf(code), option)
        }
      }
    })
  }

  it("of the algorithms of an adaptive limit are those of their docstrings", () => {
    const page = sectionsOf(read("adaptive-limit.md")).get("Options") ?? ""
    const rows = Array.from(page.matchAll(/^\| `(aimd|vegas|gradient2|told)` \|[^|]*\|([^|]*)\|/gm))
    assert.lengthOf(rows, 4)
    for (const [, algorithm = "", cell = ""] of rows) {
      const said = Array.from(cell.matchAll(/`(\w+)` ([^`]+)/g), ([, option, value = ""]) => [option, valueOf(value)])
      const docs = docsOf(`internal/concurrency/${algorithm}`).map(([option, value]) => [option, valueOf(value)])
      assert.deepStrictEqual(said, docs, algorithm)
    }
  })
})
