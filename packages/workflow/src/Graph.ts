/**
 * The picture of a workflow: as text for Mermaid, and as SVG.
 *
 * @see {@link https://mermaid.js.org/syntax/flowchart.html}
 * @since 0.1.0
 */
import type { Definition, Planned } from "./Definition.ts"
import * as Svg from "./internal/svg.ts"

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

/**
 * How far a step is; `millis` is how long it took, or takes by now.
 *
 * @category models
 * @since 0.1.0
 */
export type State = Svg.State

/**
 * A picture as SVG: steps in layers below those that they wait for, with their conditions; steps in parallel, on error and of `finally` in frames.
 *
 * With states, by the ids of steps, it is that of a run: each step has the color of its status, and its time. An element `<g data-step="ID"
 * data-status="STATUS">` is a step (`none` without a state), so a page can find it. It has neither styles nor scripts, and all texts are escaped: a
 * page may write it into itself.
 *
 * **Example** (The picture of a run)
 *
 * ```ts
 * import { Definition, Graph } from "@ballast/workflow"
 * import { Effect } from "effect"
 *
 * const picture = Definition.read({
 *   name: "two.yaml",
 *   text: "workflow: { name: two, steps: [ { service: ocr }, { service: book } ] }",
 *   services: { ocr: {}, book: {} }
 * }).pipe(
 *   Effect.map((definition) => Graph.svg(definition, { ocr: { status: "done", millis: 1200 }, book: { status: "running" } }))
 * )
 * ```
 *
 * @category encoding
 * @since 0.1.0
 */
export const svg = (definition: Definition, states: Readonly<Record<string, State>> = {}): string =>
  Svg.draw(definition.name, definition.steps, definition.finally, states)
