import { Definition, Service } from "@ballast/workflow"
import { assert, describe, it } from "@effect/vitest"
import { Effect, SchemaAST } from "effect"
import { readFileSync } from "node:fs"
import { echo, invoice } from "./fixtures.ts"

const page = readFileSync(new URL("../../../docs/workflows.md", import.meta.url), "utf8")

const fieldsOf = (ast: SchemaAST.AST): ReadonlyArray<string> => {
  const encoded = SchemaAST.toEncoded(ast)
  if (SchemaAST.isUnion(encoded)) return encoded.types.flatMap(fieldsOf)
  return SchemaAST.isObjects(encoded) ? encoded.propertySignatures.map(({ name }) => String(name)) : []
}

describe("the page of workflows", () => {
  it.effect("shows files without mistakes, the first one byte for byte", () =>
    Effect.gen(function*() {
      const files = Array.from(page.matchAll(/^```yaml\n([^]*?)^```$/gm), ([, text = ""]) => text)
      assert.strictEqual(files[0], invoice)
      assert.isAtLeast(files.length, 2)
      const services = { image_enhancement: echo, ocr_extraction: echo, compliance_check: echo }
      for (const text of files) yield* Definition.read({ name: "workflows.md", text, services })
    }))

  it("names every field", () => {
    const fields = [
      ...fieldsOf(Definition.File.fields.workflow.ast),
      ...fieldsOf(Definition.Step.ast),
      ...fieldsOf(Service.Settings.ast)
    ]
    assert.isAtLeast(fields.length, 25)
    assert.deepStrictEqual(fields.filter((field) => !page.includes(`\`${field}\``)), [])
  })
})
