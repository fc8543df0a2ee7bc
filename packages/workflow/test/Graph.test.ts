import { Definition, Graph } from "@ballast/workflow"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"

const picture = (text: string, states?: Parameters<typeof Graph.svg>[1]) =>
  Effect.map(
    Definition.read({ name: "w", text, services: { echo: {}, "<b>&\"": {} } }),
    (definition) => Graph.svg(definition, states)
  )

const wrap = (steps: string, more = "") => `workflow:\n  name: w\n  steps: [ ${steps} ]\n${more}`

/** The left and top corner and the size of the box of a step. */
const boxOf = (svg: string, id: string) => {
  const [, step = ""] = svg.split(`<g data-step="${id}"`)
  const [x = 0, y = 0, width = 0, height = 0] = ["x", "y", "width", "height"].map((name) =>
    Number(new RegExp(`<rect [^>]*\\b${name}="([\\d.]+)"`).exec(step)?.[1])
  )
  return { x, y, right: x + width, bottom: y + height }
}

describe("Graph.svg", () => {
  it.effect("puts a step below those that it waits for, beside the others, and inside its frame", () =>
    Effect.gen(function*() {
      const svg = yield* picture(wrap(
        "{ id: a, service: echo, needs: [] }, { id: b, service: echo, needs: [] }, { id: c, parallel: [ { id: d, service: echo }, { id: e, service: echo } ], needs: [ a ] }, { id: f, service: echo, needs: [ c, b ] }",
        "  finally: [ { id: z, service: echo } ]\n"
      ))
      const [a, b, c, d, e, f, z] = ["a", "b", "c", "d", "e", "f", "z"].map((id) => boxOf(svg, id))
      assert(a && b && c && d && e && f && z)
      assert.isTrue(a.y === b.y && a.right < b.x)
      assert.isTrue(a.bottom < c.y && c.bottom < f.y && f.bottom < z.y)
      for (const inner of [d, e]) {
        assert.isTrue(c.x < inner.x && inner.right < c.right && c.y < inner.y && inner.bottom < c.bottom)
      }
      assert.isBelow(d.right, e.x)
      const [, width, height] = /viewBox="0 0 ([\d.]+) ([\d.]+)"/.exec(svg) ?? []
      assert.isTrue(Math.max(c.right, b.right) <= Number(width) && z.bottom <= Number(height))
    }))

  it.effect("shows conditions, lists, fallbacks and handling of errors, and escapes all texts", () =>
    Effect.gen(function*() {
      const svg = yield* picture(wrap(
        "{ id: a, service: '<b>&\"', condition: \"${input.x < 1}\", fallback: echo, onError: { steps: [ { id: b, service: echo } ] } }, { id: c, service: echo, forEach: { in: \"${input.list}\" } }"
      ))
      assert.include(svg, "if ${input.x &#60; 1}")
      assert.include(svg, "&#60;b&#62;&#38;&#34;")
      assert.include(svg, "else echo")
      assert.include(svg, "for each of ${input.list}")
      assert.include(svg, "on error")
      assert.isBelow(boxOf(svg, "a").right, boxOf(svg, "b").x)
      assert.notMatch(svg, /<b>|style|script/)
    }))

  it.effect("shows the states of a run", () =>
    Effect.gen(function*() {
      const svg = yield* picture(wrap("{ id: a, service: echo }, { id: b, service: echo }"), {
        a: { status: "failed", millis: 61_000 }
      })
      assert.include(svg, "<g data-step=\"a\" data-status=\"failed\">")
      assert.include(svg, "failed, 1 min 1 s")
      assert.include(svg, "<g data-step=\"b\" data-status=\"none\">")
    }))
})
