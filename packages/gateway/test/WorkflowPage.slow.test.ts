/** The page of runs, in a real browser in front of the real program. */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { chromium, type Page } from "playwright-core"
import { freePort } from "../../../test/support/freePort.ts"
import { describeWith } from "../../../test/support/program.ts"
import * as harness from "./harness.ts"
import * as program from "./program.ts"
import { temporaryFolder } from "./support/databases.ts"

const root = Path.resolve(import.meta.dirname, "../../..")

/** The workflow of the document. */
const workflow = /```yaml\n(workflow:[^]*?)```/.exec(
  Fs.readFileSync(Path.join(root, "docs/workflow-runs.md"), "utf8")
)![1]!

const twoApprovals = `workflow:
  name: two
  steps: [ { id: both, parallel: [ { id: one, service: boss }, { id: other, service: boss } ] } ]
services: { boss: { type: approval, question: "Pay \${input.vendor}?" } }
`

const args = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync"
]

const browse = Effect.acquireRelease(
  Effect.promise(() => chromium.launch({ executablePath: "/usr/bin/chromium", args })),
  (browser) => Effect.promise(() => browser.close())
)

const key = { authorization: "Bearer key-of-alice" }

const folderWith = (text: string) =>
  Effect.map(temporaryFolder, (folder) => {
    const file = Path.join(folder, "invoices.yaml")
    Fs.writeFileSync(file, text)
    const config = { workflows: { files: [file] }, clients: { alice: { keys: ["key-of-alice"] } } }
    Fs.writeFileSync(Path.join(folder, "ballast.yaml"), JSON.stringify(config))
    return folder
  })

const start = (folder: string, env: Record<string, string>) =>
  Effect.gen(function*() {
    const started = yield* program.start(["serve", "--config", Path.join(folder, "ballast.yaml")], env)
    const [, url = ""] = yield* started.printed(/listens on (\S+)[^]*curl .*\n/)
    return { url, program: started }
  })

const gateway = Effect.flatMap(
  folderWith(workflow),
  (folder) => Effect.map(start(folder, { PORT: "0" }), ({ url }) => url)
)

/** That of the document, where `SCREENSHOT` names its path. */
const screenshot = (page: Page) =>
  Effect.promise(async () => {
    const path = process.env["SCREENSHOT"]
    if (path !== undefined) await page.screenshot({ path })
  })

const see = (page: Page, text: string | RegExp) =>
  Effect.promise(() => page.getByText(text).first().waitFor({ timeout: 20_000 }))

describeWith("chromium", "sudo apt-get install chromium")("the page of runs", () => {
  it.live("shows a run as it goes on, takes an approval, and shows the end", () =>
    Effect.gen(function*() {
      const url = yield* gateway
      const runs = `${url}/v1/workflows/invoices/runs`
      const input = { vendor: "Acme <img src=x onerror=alert(1)>", amount: 8000 }
      const { json } = yield* harness.post(runs, input, key)
      assert.strictEqual(json.status, "waiting")
      const browser = yield* browse
      const page = yield* Effect.promise(() => browser.newPage({ viewport: { width: 1100, height: 760 } }))
      const problems: Array<string> = []
      page.on("pageerror", (error) => problems.push(String(error)))
      page.on("console", (message) => {
        // The first request has no key yet.
        if (message.type() === "error" && !message.text().includes("401")) problems.push(message.text())
      })
      page.on("dialog", (dialog) => problems.push(`a dialog: ${dialog.message()}`))
      yield* Effect.promise(() => page.goto(`${url}/workflows`))
      yield* see(page, /key/)
      yield* Effect.promise(() => page.getByLabel("client's key").fill("key-of-alice"))
      yield* Effect.promise(() => page.getByRole("button", { name: "Use" }).click())
      yield* Effect.promise(() => page.getByRole("link", { name: json.id.slice(0, 8) }).click())
      yield* see(page, `Pay 8000 to ${input.vendor}?`)
      yield* Effect.promise(() => page.locator("img.graph").waitFor())
      assert.strictEqual(
        yield* Effect.promise(() => page.locator("[data-status], main svg, main img:not(.graph)").count()),
        0
      )
      const width = yield* Effect.promise(() =>
        page.waitForFunction(() => document.querySelector<HTMLImageElement>("img.graph")?.naturalWidth)
      )
      assert.isAbove(Number(yield* Effect.promise(() => width.jsonValue())), 100)
      yield* Effect.promise(() => page.getByLabel("comment").fill("as agreed"))
      yield* Effect.promise(() => page.getByRole("button", { name: "Approve" }).click())
      yield* Effect.promise(() => page.locator("h1 .succeeded").waitFor({ timeout: 20_000 }))
      yield* Effect.promise(() => page.getByText("output").nth(1).click())
      yield* see(page, "as agreed")
      const ended = yield* harness.send(`${runs}/${json.id}`, { headers: key })
      assert.deepStrictEqual(ended.json.steps[1].output, { approved: true, by: "alice", comment: "as agreed" })

      // Another run, which is cancelled from its page and tried again.
      const second = yield* harness.post(runs, { vendor: "Acme", amount: 8000 }, key)
      yield* Effect.promise(() => page.goto(`${url}/workflows/runs/${second.json.id}`))
      yield* Effect.promise(() => page.locator("img.graph").waitFor())
      yield* screenshot(page)
      yield* Effect.promise(() => page.getByRole("button", { name: "Cancel" }).click())
      yield* Effect.promise(() => page.locator("h1 .cancelled").waitFor({ timeout: 20_000 }))
      yield* Effect.promise(() => page.getByRole("button", { name: "Try again" }).click())
      yield* Effect.promise(() => page.locator("h1 .waiting").waitFor({ timeout: 20_000 }))
      yield* see(page, second.json.id)
      yield* Effect.promise(() => page.getByRole("button", { name: "Reject" }).click())
      yield* Effect.promise(() => page.locator("h1 .succeeded").waitFor({ timeout: 20_000 }))
      assert.deepStrictEqual(problems, [])
      // The key is the tab's alone.
      const other = yield* Effect.promise(() => browser.newPage())
      yield* Effect.promise(() => other.goto(`${url}/workflows/runs/${json.id}`))
      yield* see(other, /key/)
      assert.strictEqual(yield* Effect.promise(() => other.getByText("Acme").count()), 0)
    }), 90_000)

  it.live(
    "comes back to a gateway that was killed, and keeps the focus and what a person wrote",
    () =>
      Effect.gen(function*() {
        const folder = yield* folderWith(twoApprovals)
        const env = { PORT: String(yield* Effect.promise(freePort)), BALLAST_DATABASE: Path.join(folder, "ballast.db") }
        const first = yield* start(folder, env)
        const runs = `${first.url}/v1/workflows/two/runs`
        const { json } = yield* harness.post(runs, { vendor: `\u202Eemca ${"W".repeat(100)}` }, key)
        const browser = yield* browse
        const page = yield* Effect.promise(() => browser.newPage({ viewport: { width: 380, height: 760 } }))
        yield* Effect.promise(() => page.goto(`${first.url}/workflows/runs/${json.id}`))
        yield* Effect.promise(() => page.getByLabel("client's key").fill("key-of-alice"))
        yield* Effect.promise(() => page.getByRole("button", { name: "Use" }).click())
        yield* see(page, "Pay [U+202E]emca")
        const width = () => page.evaluate(() => document.documentElement.scrollWidth)
        assert.isAtMost(yield* Effect.promise(width), 380)
        yield* Effect.promise(() => page.getByLabel("comment").nth(1).fill("as agreed"))
        yield* Effect.promise(() => page.getByText("input of the run").focus())
        yield* first.program.signal("SIGKILL")
        yield* see(page, /can not be reached .* trying again/)
        yield* start(folder, env)
        assert.strictEqual(
          (yield* harness.post(`${runs}/${json.id}/approvals/one`, { approved: true }, key)).status,
          200
        )
        yield* Effect.promise(() => page.locator("td .succeeded").waitFor({ timeout: 20_000 }))
        assert.strictEqual(yield* Effect.promise(() => page.locator("#notice").textContent()), "")
        assert.strictEqual(yield* Effect.promise(() => page.getByLabel("comment").inputValue()), "as agreed")
        assert.strictEqual(yield* Effect.promise(() => page.locator(":focus").textContent()), "input of the run")
      }),
    90_000
  )
})
