/**
 * The picture of a workflow, as text for Mermaid.
 *
 * @see {@link https://mermaid.js.org/syntax/flowchart.html}
 * @since 0.1.0
 */
import type { Definition, Planned } from "./Definition.ts"

/** Characters that Mermaid would read. */
const escaped = (text: string): string =>
  text.replace(/["&<>#]/g, (char) => `#${char.codePointAt(0)};`).replace(/\s+/g, " ")

const labelOf = ({ id, step: { fallback, forEach, service = "" } }: Planned): string =>
  escaped([
    service === id ? id : `${id}: ${service}`,
    ...fallback === undefined ? [] : [`else ${fallback}`],
    ...forEach === undefined ? [] : ["for each"]
  ].join(", "))

/** `end` alone is a word of Mermaid. */
const nodeOf = (id: string): string => `step_${id}`

const indent = (lines: ReadonlyArray<string>): ReadonlyArray<string> => lines.map((line) => `  ${line}`)

const linesOf = (steps: ReadonlyArray<Planned>): ReadonlyArray<string> => [
  ...steps.flatMap((planned) => {
    const { id, onError, parallel } = planned
    const own = parallel.length === 0
      ? [`${nodeOf(id)}["${labelOf(planned)}"]`]
      : [`subgraph ${nodeOf(id)}["${escaped(id)}"]`, ...indent(linesOf(parallel)), "end"]
    const [first] = onError
    return first === undefined
      ? own
      : [...own, ...linesOf(onError), `${nodeOf(id)} -. on error .-> ${nodeOf(first.id)}`]
  }),
  ...steps.flatMap(({ id, needs, step: { condition } }) =>
    needs.map((other) =>
      `${nodeOf(other)} -->${condition === undefined ? "" : `|"${escaped(condition)}"|`} ${nodeOf(id)}`
    )
  )
]

/**
 * A flowchart of the steps: arrows go to the steps that wait, with their conditions; steps in parallel and those of `finally` are boxes.
 *
 * @category encoding
 * @since 0.1.0
 */
export const mermaid = (definition: Definition): string =>
  [
    "flowchart TD",
    ...indent(linesOf(definition.steps)),
    ...definition.finally.length === 0
      ? []
      : indent(["subgraph finally", ...indent(linesOf(definition.finally)), "end"])
  ].join("\n") + "\n"
