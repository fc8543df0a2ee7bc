import type { ChatRequest } from "@ballast/chat/ChatRequest"
import { Service } from "@ballast/workflow"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { check } from "../src/compliance.ts"
import { draw } from "../src/draw.ts"
import { enhance } from "../src/enhance.ts"
import { beforeText, type Extracted } from "../src/extract.ts"
import { samples } from "../src/samples.ts"
import * as Score from "../src/score.ts"
import { simulatedReader } from "../src/simulatedReader.ts"

const [sample] = samples
if (sample === undefined) throw new Error("There is no sample")

const sure = (invoice: Partial<Extracted> = {}): Extracted => ({
  ...sample.invoice,
  confidence: { number: 1, date: 1, seller: 1, buyer: 1, currency: 1, net: 1, tax: 1, amount: 1 },
  ...invoice
})

const broken = (invoice: Extracted) => check(invoice).filter(({ kept }) => !kept).map(({ rule }) => rule)

describe("the tutorial", () => {
  it("shows the files as they are", () => {
    const root = Path.resolve(import.meta.dirname, "..")
    const tutorial = Fs.readFileSync(Path.join(root, "../../docs/invoice-processing.md"), "utf8")
    for (const file of ["invoice.yaml", "invoice_processing.yaml"]) {
      assert.include(tutorial, `\`\`\`yaml\n${Fs.readFileSync(Path.join(root, file), "utf8")}\`\`\``)
    }
  })
})

describe("compliance", () => {
  it("finds nothing wrong with what was drawn", () => {
    for (const { invoice } of samples) assert.deepStrictEqual(broken(sure(invoice)), [])
  })

  it("says which rule is broken, and why", () => {
    assert.deepStrictEqual(broken(sure({ buyer: null })), ["complete"])
    assert.deepStrictEqual(broken(sure({ amount: 179.58 })), ["sums"])
    assert.deepStrictEqual(broken(sure({ currency: "CNY" })), ["tax rate"])
    const unsure = sure({ confidence: { ...sure().confidence, seller: 0.72, buyer: 0 } })
    assert.deepInclude(check(unsure), {
      rule: "legible",
      kept: false,
      reason: "seller is only 72.0 % sure, buyer does not stand in the text so"
    })
  })
})

describe("what stands in for the model", () => {
  const read = (text: string) => {
    const request: ChatRequest = { model: "m", messages: [{ role: "user", content: beforeText + text }] }
    return JSON.parse(simulatedReader(request) ?? "null")
  }

  it("reads labels in both languages, and amounts whose point was taken for a comma", () => {
    const found = read(
      "发票  发票号码：03120087\n开票日期：2026年03月08日\nBillto:A Ltd\n合计金额  ￥1.665,00\n价税合计  ￥1,881.45"
    )
    assert.deepInclude(found, { number: "03120087", date: "2026-03-08", buyer: "A Ltd", net: 1665, amount: 1881.45 })
  })

  it("gives null for what is not there", () => {
    assert.deepInclude(read("INVOICE  lnvoice N0.:7\nCurrency:DM"), { number: null, currency: null, amount: null })
  })
})

describe("enhancement", () => {
  it("measures by how much a scan is turned", async () => {
    const turned = [-5, 0, 2.3].map((skew) => ({ ...sample, defects: { skew, noise: 20 } }))
    const angles = await Promise.all((await draw(turned)).map(async (scan) => (await enhance(scan)).turned))
    angles.forEach((angle, index) => assert.closeTo(angle, -(turned[index]?.defects.skew ?? 0), 0.25))
  })
})

describe("score", () => {
  it("counts a lost space, and a run that failed, as not read", () => {
    const seller = sample.invoice.seller.replaceAll(" ", "")
    const scores = [Score.score(sample, sure()), Score.score(sample, sure({ seller })), Score.score(sample, undefined)]
    assert.deepStrictEqual(scores.map(({ right }) => right), [8, 7, 0])
    assert.strictEqual(Score.total(scores), "Read right: 15 of 24 fields (62.5 %).")
  })
})

describe("report", () => {
  it.effect("shows no text of an invoice as markup, and what is not read as such", () =>
    Effect.gen(function*() {
      const root = Path.resolve(import.meta.dirname, "..")
      const text = Fs.readFileSync(Path.join(root, "report.liquid"), "utf8")
      const service = Service.make({ type: "report", file: "report.liquid", title: "t" }, {}, { text })
      const invoice = sure({ seller: "<img src=x onerror=\"alert(1)\">", buyer: null })
      const context: Service.CallContext = {
        runId: "r",
        workflow: "w",
        stepId: "s",
        attempt: 1,
        idempotencyKey: "r/s",
        report: () => Effect.void
      }
      const output = yield* service.call({
        pictures: { scan: "data:,a", enhanced: "data:,b" },
        turned: 0,
        invoice,
        confidences: [{ label: "seller", value: 100 }],
        check: { findings: check(invoice), sure: 0.9 },
        way: "look",
        approval: { approved: false, by: "<b>me</b>", comment: "" }
      }, context)
      const html = JSON.stringify(output)
      assert.include(html, "<i>not read</i>")
      assert.include(html, "not read: buyer")
      assert.include(html, "<svg")
      assert.notInclude(html, "<img src=x")
      assert.notInclude(html, "<b>me")
    }))
})
