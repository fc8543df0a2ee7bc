/** Services that write a page. */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Page from "../report.ts"
import * as Template from "../template.ts"
import { type CallContext, type Evaluate, fail, type Parts } from "./contract.ts"
import type { Report } from "./settings.ts"

/** Names of files without folders. */
const isFileName = (name: string): boolean => /^\w[\w.-]{0,127}$/.test(name)

export const writeReport = Effect.fnUntraced(function*(
  { file, save, template = "", title = "Report" }: typeof Report.Type,
  { saveReport }: Parts,
  evaluate: Evaluate,
  input: unknown,
  { runId, workflow }: CallContext,
  text: string
) {
  const heading = Template.text(yield* evaluate(title))
  const values = { input, run: { id: runId, workflow } }
  const html = Page.render(file === undefined ? template : text, values, heading)
  if (Result.isFailure(html)) return yield* fail(`its template can not be filled: ${html.failure}`)
  if (save === undefined) return { html: html.success }
  const name = Template.text(yield* evaluate(save))
  if (!isFileName(name)) {
    return yield* fail(`${JSON.stringify(name)} is no name of a file of letters, digits, _, - and .`)
  }
  if (saveReport === undefined) return yield* fail("the program has no folder for reports")
  return { file: yield* saveReport(name, html.success) }
})
