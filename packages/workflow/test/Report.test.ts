import { Definition, Service } from "@ballast/workflow"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Result } from "effect"

const context: Service.CallContext = {
  runId: "run-1",
  workflow: "w",
  stepId: "s",
  attempt: 1,
  idempotencyKey: "run-1/s",
  report: () => Effect.void
}

const page = (
  settings: Omit<Extract<Service.Settings, { type: "report" }>, "type">,
  input: unknown,
  parts = {},
  text?: string
) =>
  Effect.map(
    Effect.result(Service.make({ type: "report", ...settings }, parts, { text }).call(input, context)),
    Result.match({
      onSuccess: (output) =>
        typeof output === "object" && output !== null && "html" in output ? String(output.html) : output,
      onFailure: ({ detail }) => detail
    })
  )

const attack = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>"

describe("report", () => {
  it.effect("fills a template with loops, conditions and escaped values, under a policy without scripts", () =>
    Effect.gen(function*() {
      const template = `<h1 title="{{ input.vendor }}">{{ input.vendor }}</h1>
<ul>{% for line in input.lines %}<li>{{ line.text }}{% if line.amount > 1000 %} (large){% endif %}</li>{% endfor %}</ul>{{ run.id }}`
      const html = String(
        yield* page({ title: "Of ${input.vendor}", template }, {
          vendor: attack,
          lines: [{ text: attack, amount: 1 }, { text: "b", amount: 2000 }]
        })
      )
      assert.notMatch(html, /<script>|<img/)
      assert.include(html, "<h1 title=\"&#34;&#39;&gt;&lt;script&gt;")
      assert.include(html, "<li>b (large)</li></ul>run-1")
      assert.include(html, "<title>Of &#34;")
      assert.match(html, /<meta http-equiv="Content-Security-Policy" content="default-src 'none';/)
    }))

  it.effect("lets no filter leave a value as it is, and reads no file", () =>
    Effect.gen(function*() {
      const fill = (template: string) => page({ template }, { vendor: attack, list: [attack] })
      assert.match(String(yield* fill("{{ input.vendor | raw }}")), /undefined filter: raw/)
      for (
        const template of [
          "{{ input.list | join: '<b>' | upcase }}",
          "{% assign a = input.vendor %}{{ a }}{% capture b %}{{ input.vendor }}{% endcapture %}{{ b }}",
          "{% echo input.vendor %}{% cycle input.vendor %}{{ input | json }}",
          "{{ input.vendor | newline_to_br | append: input.vendor }}",
          "{% tablerow x in input.list %}{{ x }}{% endtablerow %}"
        ]
      ) assert.notMatch(String(yield* fill(template)), /<script>|<img|<SCRIPT>/, template)
      for (const tag of ["render", "include", "layout"]) {
        assert.match(String(yield* fill(`{% ${tag} '/etc/passwd' %}`)), /ENOENT: Failed to lookup/)
      }
      assert.match(String(yield* fill("{{ input.nothing }}")), /undefined variable: input.nothing/)
      assert.match(String(yield* fill("{% for x in (1..100000000) %}x{% endfor %}")), /memory alloc limit exceeded/)
    }))

  it.effect("draws charts without scripts, with escaped labels", () =>
    Effect.gen(function*() {
      const points = [{ label: attack, value: 1200.5 }, { label: "b", value: -300 }, { label: "c", value: 0 }]
      for (const kind of ["bar", "line", "pie"]) {
        const html = String(yield* page({ template: `{{ input | ${kind}_chart: "Amounts" }}` }, points))
        assert.include(html, "aria-label=\"Amounts\"")
        assert.include(html, ": 1,200.5</title>")
        assert.notMatch(html, /<script>|<img|NaN|Infinity|undefined/)
        assert.notMatch(String(yield* page({ template: `{{ input | ${kind}_chart }}` }, [])), /NaN|Infinity/)
      }
      const fill = (input: unknown) => page({ template: "{{ input | bar_chart }}" }, input)
      assert.match(String(yield* fill([{ label: "a", value: "1" }])), /the value of item 0 is no number/)
      assert.match(String(yield* fill(7)), /a chart needs a list/)
      assert.match(String(yield* fill(Array(201).fill(points[0]))), /at most 200 points, got 201/)
    }))

  it.effect("is written under a name without folders", () =>
    Effect.gen(function*() {
      const saved: Array<string> = []
      const parts: Service.Parts = {
        saveReport: (name, html) => Effect.as(Effect.sync(() => saved.push(name, html)), `/reports/${name}`)
      }
      const settings = { file: "page.html", save: "invoice-${input.id}.html" }
      assert.deepStrictEqual(yield* page(settings, { id: 7 }, parts, "{{ input.id }}"), {
        file: "/reports/invoice-7.html"
      })
      assert.strictEqual(saved[0], "invoice-7.html")
      assert.include(saved[1] ?? "", "<body>\n7\n</body>")
      for (const id of ["/../x", "a/b"]) {
        assert.match(String(yield* page(settings, { id }, parts, "x")), /is no name of a file/)
      }
      assert.strictEqual(yield* page(settings, { id: 7 }, {}, "x"), "the program has no folder for reports")
    }))

  it.effect("is checked: its template, wherever it is", () =>
    Effect.gen(function*() {
      const read = (report: string) =>
        Definition.read({
          name: "w.yaml",
          text: `workflow: { name: w, steps: [ { service: page } ] }\nservices:\n  page: { type: report, ${report} }\n`,
          services: {},
          texts: () => Effect.succeed("{% if %}")
        })
      const mistake = (report: string) => Effect.map(Effect.flip(read(report)), ({ message }) => message)
      assert.strictEqual(
        yield* mistake("template: \"{{ input\""),
        "w.yaml:3:35: services.page.template: output \"{{ input\" not closed, line:1, col:1"
      )
      assert.match(yield* mistake("file: page.html"), /^w\.yaml:3:31: services\.page\.file: invalid value expression/)
      assert.match(yield* mistake("title: x"), /a report has a template, or a file with one/)
    }))
})
