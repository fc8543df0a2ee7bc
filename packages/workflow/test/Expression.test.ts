import { Expression } from "@ballast/workflow"
import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"

const types: Expression.Types = { input: "dyn", output: "dyn", steps: { ocr: "dyn" }, item: false }

const scope: Expression.Scope = {
  input: { name: "Ada" },
  output: { amount: 1200.5, count: 7, tags: ["a", "b"], nested: { "odd key": 1 } },
  steps: { ocr: { output: { total: 3 } } },
  env: { REGION: "eu" },
  run: { id: "run-1", workflow: "w" }
}

const evaluate = (text: string, given = scope, known = types) =>
  Result.match(
    Result.flatMap(Expression.compile(text, known), (template) =>
      template === undefined ? Result.succeed(text) : template.evaluate(given)),
    {
      onSuccess: (value) =>
        value,
      onFailure: ({ message }) => message
    }
  )

describe("Expression", () => {
  it("gives the value of a text that is one expression, and writes several into a text", () => {
    assert.deepStrictEqual(evaluate("${output.tags}"), ["a", "b"])
    assert.strictEqual(evaluate("${output.amount > 1000}"), true)
    assert.strictEqual(
      evaluate("Hello ${input.name}: ${output.amount}, ${output.tags} at ${run.id} in ${env.REGION}"),
      "Hello Ada: 1200.5, [\"a\",\"b\"] at run-1 in eu"
    )
    assert.strictEqual(evaluate("plain"), "plain")
    assert.strictEqual(evaluate("$${not} ${1}"), "${not} 1")
    assert.deepStrictEqual(evaluate("${{'sum': output.count, 'brace': '}'}}"), { sum: 7, brace: "}" })
    assert.strictEqual(evaluate("${output.nested['odd key'] + steps.ocr.output.total}"), 4)
  })

  it("calculates as people expect", () => {
    assert.strictEqual(evaluate("${output.amount + 1}"), 1201.5)
    assert.strictEqual(evaluate("${output.count / 2}"), 3.5)
    assert.strictEqual(evaluate("${2 * output.count - output.amount}"), -1186.5)
    assert.strictEqual(evaluate("${output.count == 7 && output.count >= 7.0}"), true)
    assert.deepStrictEqual(evaluate("${output.tags.map(tag, tag + '!')}"), ["a!", "b!"])
    assert.strictEqual(evaluate("${output.?missing.orValue(5)}"), 5)
  })

  it("refuses what is no expression, and names that are not there", () => {
    assert.match(String(evaluate("${}")), /^The expression {2}can not be evaluated: there is nothing between/)
    assert.match(String(evaluate("${output.amount")), /without its }/)
    assert.match(String(evaluate("${item}")), /Unknown variable: item/)
    assert.match(String(evaluate("${steps.later.output}")), /later/)
    assert.match(String(evaluate("${constructor}")), /Unknown variable/)
    assert.match(String(evaluate("${process.exit(1)}")), /Unknown variable/)
    assert.match(String(evaluate(`\${${"1+".repeat(3000)}1}`)), /longer than 4096/)
    assert.match(String(evaluate("${output.missing}")), /No such key: missing/)
  })

  it("reads fields that are called constructor", () => {
    const output: unknown = JSON.parse(`{"constructor":"Acme","parts":[{"n":1},{"n":2,"constructor":{"of":[3]}}]}`)
    const given = { ...scope, output }
    assert.deepStrictEqual(evaluate("${output}", given), output)
    assert.strictEqual(evaluate("by ${output.constructor}", given), "by Acme")
    assert.deepStrictEqual(evaluate("${output.parts.map(part, part.n)}", given), [1, 2])
    assert.strictEqual(evaluate("${output.parts[1].constructor.of[0]}", given), 3)
    assert.match(String(evaluate("${output.missing}", given)), /No such key: missing/)
  })

  it("knows the types of outputs", () => {
    const typed: Expression.Types = { ...types, output: { amount: "double", ok: "bool" } }
    const typeOf = (text: string) => Result.getOrThrow(Expression.compile(text, typed))?.type
    assert.strictEqual(typeOf("${output.amount > 1}"), "bool")
    assert.strictEqual(typeOf("x${output.amount}"), "string")
    assert.match(String(evaluate("${output.amuont}", scope, typed)), /amuont/)
    assert.match(String(evaluate("${output.ok + 1}", scope, typed)), /no such overload: bool \+ int/)
  })
})
