import { assert, describe, it } from "@effect/vitest"
import { Option, Schema } from "effect"
import { BallastModel, Crd } from "../src/index.ts"

type Node = Readonly<Record<string, unknown>>

const isNode = (value: unknown): value is Node => typeof value === "object" && value !== null && !Array.isArray(value)

const { spec, status } = Crd.crd.spec.versions[0].schema.openAPIV3Schema.properties

/** What the API server accepts, for the words that the definition uses. */
const accepts = (schema: Node, value: unknown): boolean => {
  switch (schema["type"]) {
    case "string":
      return typeof value === "string" && new RegExp(String(schema["pattern"] ?? ""), "u").test(value) &&
        value.length >= Number(schema["minLength"] ?? 0) && value.length <= Number(schema["maxLength"] ?? Infinity)
    case "integer":
    case "number":
      return typeof value === "number" && (schema["type"] === "number" || Number.isInteger(value)) &&
        value >= Number(schema["minimum"] ?? -Infinity) && value <= Number(schema["maximum"] ?? Infinity)
    case "array": {
      const items = isNode(schema["items"]) ? schema["items"] : {}
      return Array.isArray(value) && value.length <= Number(schema["maxItems"] ?? Infinity) &&
        value.every((one) => accepts(items, one))
    }
    case "object": {
      const properties = isNode(schema["properties"]) ? schema["properties"] : {}
      const required = Array.isArray(schema["required"]) ? schema["required"] : []
      return isNode(value) && required.every((name) => value[name] !== undefined) &&
        Object.entries(value).every(([name, one]) => {
          const inner = properties[name] ?? schema["additionalProperties"]
          return !isNode(inner) || accepts(inner, one)
        })
    }
    default:
      return true
  }
}

/** Each schema in a schema. */
function* nodes(schema: Node): Iterable<Node> {
  yield schema
  for (const key of ["items", "additionalProperties"]) if (isNode(schema[key])) yield* nodes(schema[key])
  if (isNode(schema["properties"])) {
    for (const inner of Object.values(schema["properties"])) if (isNode(inner)) yield* nodes(inner)
  }
}

const good = { source: "/models/flow/1", version: "1" }

const right: ReadonlyArray<unknown> = [
  good,
  { ...good, sha256: { "model.onnx": "a".repeat(64) }, golden: [{ inputs: { x: [1] }, any: null }], replicas: 3 },
  { ...good, canary: {} },
  { ...good, canary: { weight: 1, steps: 50, interval: "1h30m", maxErrorRatio: 0, maxLatency: "250ms", minCalls: 0 } }
]

const wrong: ReadonlyArray<unknown> = [
  {},
  { version: "1" },
  { ...good, source: "" },
  { ...good, source: "x".repeat(2049) },
  { ...good, version: 1 },
  { ...good, version: "" },
  { ...good, version: "../2" },
  { ...good, version: "a".repeat(64) },
  { ...good, sha256: { "model.onnx": "A".repeat(64) } },
  { ...good, sha256: "a".repeat(64) },
  { ...good, golden: {} },
  { ...good, golden: ["x"] },
  { ...good, golden: Array.from({ length: 17 }, () => ({})) },
  { ...good, replicas: 0 },
  { ...good, replicas: 1.5 },
  { ...good, canary: { weight: 0 } },
  { ...good, canary: { weight: 100 } },
  { ...good, canary: { steps: 0 } },
  { ...good, canary: { interval: "5" } },
  { ...good, canary: { interval: "5d" } },
  { ...good, canary: { maxErrorRatio: 1.01 } },
  { ...good, canary: { minCalls: -1 } }
]

describe("Crd", () => {
  for (const one of [...right, ...wrong]) {
    it(`lets the API server say the same as the controller of ${JSON.stringify(one).slice(0, 80)}`, () => {
      assert.strictEqual(accepts(spec, one), right.includes(one))
      assert.strictEqual(Option.isSome(Schema.decodeUnknownOption(BallastModel.Spec)(one)), right.includes(one))
    })
  }

  it("is structural: each part has a type or keeps what is unknown, and no word that Kubernetes refuses", () => {
    const all = [...nodes(spec), ...nodes(status)]
    assert.isAtLeast(all.length, 40)
    for (const node of all) {
      assert.isTrue(node["type"] !== undefined || node["x-kubernetes-preserve-unknown-fields"] === true)
      for (
        const word of ["anyOf", "oneOf", "$ref", "const", "exclusiveMinimum", "exclusiveMaximum", "patternProperties"]
      ) {
        assert.notProperty(node, word)
      }
      assert.isFalse(typeof node["additionalProperties"] === "boolean")
      if (node["properties"] !== undefined) assert.notProperty(node, "additionalProperties")
    }
  })
})
