import { Definition } from "@ballast/workflow"
import { assert, describe, expect, it } from "@effect/vitest"
import { Effect, JsonSchema, Result, Schema, SchemaRepresentation } from "effect"

const services = {
  image_enhancement: {},
  ocr_extraction: { output: { amount: "double", vendor: "string" } },
  compliance_check: {}
}

const read = (text: string) => Definition.read({ name: "flow.yaml", text, services })

const invoice = `workflow:
  name: invoice_processing
  steps:
    - service: image_enhancement
      timeout: 5s
    - service: ocr_extraction
      retry: 2
    - service: compliance_check
      condition: "\${output.amount > 1000}"
`

const needs = ({ steps }: Definition.Definition) => steps.map(({ id, needs }) => [id, ...needs])

/** Every mistake of a workflow with these steps. */
const mistakes = (steps: string) =>
  Effect.map(
    Effect.flip(read(`workflow:\n  name: w\n  steps:\n${steps.replaceAll(/^/gm, "    ")}\n`)),
    ({ message }) => message.split("\n")
  )

describe("Definition", () => {
  it.effect("reads steps in order, with ids of their own", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(needs(yield* read(invoice)), [
        ["image_enhancement"],
        ["ocr_extraction", "image_enhancement"],
        ["compliance_check", "ocr_extraction"]
      ])
      const twice = yield* read(
        "workflow: { name: w, steps: [ { service: image_enhancement }, { service: image_enhancement } ] }"
      )
      assert.deepStrictEqual(needs(twice), [["image_enhancement"], ["image_enhancement_2", "image_enhancement"]])
    }))

  it.effect("reads a graph, steps side by side and steps for errors", () =>
    Effect.gen(function*() {
      const definition = yield* read(`workflow:
  name: w
  steps:
    - { id: a, service: image_enhancement, needs: [] }
    - { id: b, service: ocr_extraction, needs: [] }
    - id: c
      needs: [ a, b ]
      parallel:
        - { id: d, service: compliance_check, input: "\${steps.b.output.amount}" }
        - { id: e, service: compliance_check, onError: { steps: [ { id: f, service: image_enhancement } ] } }
  finally: [ { id: g, service: compliance_check, input: { vendor: "\${steps.b.output.vendor}" } } ]
  output: "\${steps.c.output}"
`)
      assert.deepStrictEqual(needs(definition), [["a"], ["b"], ["c", "a", "b"]])
      const [, , c] = definition.steps
      assert.deepStrictEqual(c?.parallel.map(({ id, needs }) => [id, ...needs]), [["d"], ["e"]])
      assert.deepStrictEqual(c?.parallel[1]?.onError.map(({ id }) => id), ["f"])
      assert.deepStrictEqual(definition.finally.map(({ id }) => id), ["g"])
    }))

  it.effect("says where an unknown service or step is, and what there is", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(
        yield* mistakes("- service: ocr\n- service: ocr_extraction\n  needs: [ x ]\n  fallback: y"),
        [
          "flow.yaml:4:16: workflow.steps[0].service: there is no service ocr; known: image_enhancement, ocr_extraction, compliance_check",
          "flow.yaml:6:16: workflow.steps[1].needs[0]: there is no step x; known: ocr, ocr_extraction",
          "flow.yaml:7:17: workflow.steps[1].fallback: there is no service y; known: image_enhancement, ocr_extraction, compliance_check"
        ]
      )
    }))

  it.effect("finds cycles, ids that are taken, and steps without anything to do", () =>
    Effect.gen(function*() {
      const service = "service: compliance_check"
      assert.deepStrictEqual(
        yield* mistakes(`- { id: a, ${service}, needs: [ b ] }\n- { id: b, ${service}, needs: [ a ] }`),
        ["flow.yaml:4:50: workflow.steps[0].needs: steps wait for each other: a → b → a"]
      )
      assert.deepStrictEqual(yield* mistakes(`- { id: a, ${service} }\n- { id: a, ${service} }`), [
        "flow.yaml:5:13: workflow.steps[1].id: another step is called a"
      ])
      assert.deepStrictEqual(yield* mistakes("- { id: a }"), [
        "flow.yaml:4:7: workflow.steps[0]: a step has a service, or steps in parallel"
      ])
    }))

  it.effect("says that an expression stands without its ${…}", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(
        yield* mistakes("- { service: compliance_check, condition: output.amount > 1000, forEach: { in: input.all } }"),
        [
          "flow.yaml:4:47: workflow.steps[0].condition: it has no ${…} around its expression, expected bool",
          "flow.yaml:4:84: workflow.steps[0].forEach.in: it has no ${…} around its expression, expected list"
        ]
      )
    }))

  it.effect("finds references to steps that have not ended, and wrong types", () =>
    Effect.gen(function*() {
      const found = yield* mistakes(`- service: ocr_extraction
  input: { later: "\${steps.compliance_check.output}" }
- service: compliance_check
  condition: "\${output.amount}"
  input: [ "\${output.vendro}", "\${output.amount + output.vendor}" ]
- service: compliance_check
  forEach: { in: "\${1 + 1}" }`)
      assert.lengthOf(found, 5)
      assert.strictEqual(
        found[0],
        "flow.yaml:5:23: workflow.steps[0].input.later: the step compliance_check has not ended when this is evaluated"
      )
      assert.strictEqual(found[1], "flow.yaml:7:18: workflow.steps[1].condition: it gives double, expected bool")
      assert.match(found[2]!, /^flow\.yaml:8:16: workflow\.steps\[1\]\.input\[0\]: .*vendro/)
      assert.match(found[3]!, /^flow\.yaml:8:36: workflow\.steps\[1\]\.input\[1\]: no such overload: double \+ string/)
      assert.strictEqual(found[4], "flow.yaml:10:22: workflow.steps[2].forEach.in: it gives int, expected list")
    }))

  it.effect("finds references to steps that there are not", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(
        yield* mistakes("- service: ocr_extraction\n- { service: compliance_check, input: \"${steps.ocr.output}\" }"),
        [
          "flow.yaml:5:43: workflow.steps[1].input: there is no step ocr; those that have ended: ocr_extraction"
        ]
      )
    }))

  it.effect("refuses what the language does not have", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* mistakes("- { service: ocr_extraction, retrys: 2, timeout: soon }"), [
        "flow.yaml:4:34: workflow.steps[0].retrys: unknown key; did you mean retry?",
        "flow.yaml:4:54: workflow.steps[0].timeout: found \"soon\", expected a duration such as 30s or 5m, from 1ms to 7d"
      ])
    }))

  it.effect("refuses budgets of nothing, and what belongs to steps that call", () =>
    Effect.gen(function*() {
      const service = "service: compliance_check"
      assert.deepStrictEqual(yield* mistakes(`- { ${service}, cache: { key: "\${nothing}" }, budget: { } }`), [
        "flow.yaml:4:50: workflow.steps[0].cache.key: Unknown variable: nothing",
        "flow.yaml:4:74: workflow.steps[0].budget: it bounds nothing, expected tokens, cost or time"
      ])
      assert.deepStrictEqual(
        yield* mistakes(`- { retry: 2, parallel: [ { ${service} }, { id: a, ${service}, needs: [ b ] } ] }`),
        [
          "flow.yaml:4:16: workflow.steps[0].retry: it belongs to a step that calls a service; give it to the steps in parallel",
          "flow.yaml:4:105: workflow.steps[0].parallel[1].needs: steps in parallel wait for none"
        ]
      )
      assert.deepStrictEqual(yield* mistakes(`- { id: a, ${service} }\n- { parallel: [ { id: a, ${service} } ] }`), [
        "flow.yaml:5:27: workflow.steps[1].parallel[0].id: another step is called a"
      ])
    }))

  it.effect("does not rely on the type of what may be null or another service's", () =>
    Effect.gen(function*() {
      const withFirst = (first: string) =>
        read(
          `workflow: { name: w, steps: [ { service: ocr_extraction, ${first} }, { service: compliance_check, condition: "\${output == null || output.x}" } ] }`
        )
      for (
        const first of [
          "condition: \"${true}\"",
          "fallback: compliance_check",
          "onError: continue",
          "onError: { default: 1 }"
        ]
      ) {
        assert.lengthOf((yield* withFirst(first)).steps, 2)
      }
      assert.match((yield* Effect.flip(withFirst("onError: fail"))).message, /no such overload/)
    }))

  it.effect("knows the error in steps of onError, and in finally", () =>
    Effect.gen(function*() {
      const step = "service: compliance_check, input: \"${error.message}\""
      assert.deepStrictEqual(
        yield* mistakes(`- { ${step}, onError: { steps: [ { ${step} }, { ${step.replace("message", "reason")} } ] } }`),
        [
          "flow.yaml:4:43: workflow.steps[0].input: Unknown variable: error",
          "flow.yaml:4:177: workflow.steps[0].onError.steps[1].input: No such key: reason"
        ]
      )
    }))

  it.effect("refuses what a step that waits for an approval can not have", () =>
    Effect.gen(function*() {
      const refused = yield* Effect.flip(read(`workflow:
  name: w
  steps: [ { service: boss, timeout: 1s, retry: 1 }, { service: ocr_extraction, fallback: boss } ]
services: { boss: { type: approval } }
`))
      const reason = "a step that waits for an approval has none; give the approval a deadline"
      assert.deepStrictEqual(refused.message.split("\n"), [
        `flow.yaml:3:38: workflow.steps[0].timeout: ${reason}`,
        `flow.yaml:3:49: workflow.steps[0].retry: ${reason}`,
        "flow.yaml:3:91: workflow.steps[1].fallback: an approval is no fallback; ask in the steps of onError"
      ])
    }))

  it.effect("checks the services of the file", () =>
    Effect.gen(function*() {
      const refused = yield* Effect.flip(read(`workflow:
  name: w
  steps:
    - { service: extract }
    - { service: rules, condition: "\${output.amuont > 1.0}" }
services:
  extract: { type: model, model: m, prompt: "\${inputt}", schema: { type: object, properties: { amount: { type: number } } } }
  rules: { type: rule, rules: [ { when: "\${1 + 1}", then: "\${input.a}" } ] }
  score: { type: http, url: "ftp://x" }
`))
      assert.deepStrictEqual(refused.message.split("\n"), [
        "flow.yaml:5:36: workflow.steps[1].condition: No such key: amuont",
        "flow.yaml:7:45: services.extract.prompt: Unknown variable: inputt",
        "flow.yaml:8:41: services.rules.rules[0].when: it gives int, expected bool",
        "flow.yaml:9:29: services.score.url: found \"ftp://x\", expected an http or https URL"
      ])
      const unknown = yield* Effect.flip(
        read("workflow: { name: w, steps: [ { service: a } ] }\nservices: { a: { type: htpp, url: x } }")
      )
      assert.strictEqual(
        unknown.message,
        "flow.yaml:2:16: services.a: found a map, expected a service of the type http, model, onnx, rule, approval, workflow or report"
      )
      const wrong = yield* Effect.flip(
        read(
          "workflow: { name: w, steps: [ { service: a } ] }\nservices: { a: { type: rule, rules: [ { when: true, then: 1 } ] } }"
        )
      )
      assert.strictEqual(
        wrong.message,
        "flow.yaml:2:47: services.a.rules[0].when: found true, expected text"
      )
    }))

  describe("JSON Schema", () => {
    it("is what docs/workflow.schema.json holds", async () => {
      await expect(`${JSON.stringify(Definition.jsonSchema(), null, 2)}\n`).toMatchFileSnapshot(
        "../../../docs/workflow.schema.json"
      )
    })

    it("takes what is right, and finds what the language does not have", () => {
      const schema = SchemaRepresentation.fromJsonSchemaDocument(
        JsonSchema.fromSchemaDraft2020_12(Definition.jsonSchema()),
        { patterns: "apply" }
      )
      const decode = Schema.decodeUnknownResult(schema as Schema.Codec<unknown>, { onExcessProperty: "error" })
      const fits = (step: object) =>
        Result.isSuccess(decode({
          workflow: { name: "w", steps: [step] },
          services: { rules: { type: "rule", rules: [{ then: 1 }] } }
        }))
      const step = {
        service: "rules",
        timeout: "5s",
        retry: { times: 2, base: "1s" },
        cache: true,
        onError: { steps: [{ parallel: [{ service: "rules", budget: { time: "1m", tokens: 5 } }] }] }
      }
      assert.isTrue(fits(step))
      for (
        const wrong of [
          { time: "5s" },
          { timeout: 5 },
          { id: "a b" },
          { retry: { times: 21 } },
          { onError: { steps: [{ retries: 1 }] } }
        ]
      ) {
        assert.isFalse(fits({ ...step, ...wrong }), JSON.stringify(wrong))
      }
    })
  })
})
