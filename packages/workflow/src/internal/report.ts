/**
 * Pages of HTML from templates of Liquid, whose values are always escaped: no filter leaves that out. The page has a policy under which no script
 * runs, wherever a value is put. Templates read no files, and their work is bounded.
 */
import * as Result from "effect/Result"
import { Liquid, type Template } from "liquidjs"
import * as Charts from "./charts.ts"
import { escaped } from "./xml.ts"

const makeEngine = () => {
  const engine = new Liquid({
    outputEscape: "escape",
    strictVariables: true,
    strictFilters: true,
    ownPropertyOnly: true,
    templates: {},
    cache: false,
    parseLimit: 1024 * 1024,
    memoryLimit: 16 * 1024 * 1024,
    renderLimit: 5000
  })
  delete engine.filters["raw"]
  for (const kind of ["bar", "line", "pie"] as const) {
    engine.registerFilter(`${kind}_chart`, {
      raw: true,
      handler: (value: unknown, title: unknown = "") => Charts.draw(kind, value, String(title))
    })
  }
  return engine
}

let made: Liquid | undefined
const engine = (): Liquid => made ??= makeEngine()

/** What the engine says, without its picture of the place. */
const detailOf = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).split("\n", 1)[0] ?? ""

/** Reads a template; fails with what is wrong. */
export const parse = (template: string): Result.Result<Array<Template>, string> =>
  Result.try({ try: () => engine().parse(template), catch: detailOf })

const style =
  `body{font:15px/1.5 system-ui,sans-serif;color:#1f2937;max-width:60rem;margin:2rem auto;padding:0 1rem}table{border-collapse:collapse}td,th{border:1px solid #d1d5db;padding:.25rem .6rem;text-align:left}img,svg{max-width:100%;height:auto}`

const policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

/** A whole page. */
export const render = (
  template: string,
  values: object,
  title: string
): Result.Result<string, string> =>
  Result.flatMap(parse(template), (parsed) =>
    Result.map(
      Result.try({ try: (): unknown => engine().renderSync(parsed, values), catch: detailOf }),
      (body) =>
        `<!doctype html>
<html>
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width">
<title>${escaped(title)}</title>
<style>${style}</style>
</head>
<body>
${String(body)}
</body>
</html>
`
    ))
