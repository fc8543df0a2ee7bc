/**
 * The page of runs, as it is sent: one HTML, one style and one script, without anything from elsewhere.
 *
 * The script is the text of a function that is checked like all others. It writes what it gets as text nodes alone, and sends the key as a header;
 * the key is kept in the tab's `sessionStorage`.
 */

/** Runs in the browser: it may use nothing from around it. */
function app(): void {
  type Json = Readonly<Record<string, unknown>>
  interface Usage {
    readonly promptTokens: number
    readonly completionTokens: number
    readonly cost: Readonly<Record<string, string>>
  }
  interface Step {
    readonly id: string
    readonly service: string
    readonly status: string
    readonly attempts: number
    readonly startedAt: number
    readonly endedAt: number | null
    readonly input: unknown
    readonly output: unknown
    readonly error: string | null
    readonly question?: string
    readonly usage: Usage
  }
  interface Run {
    readonly id: string
    readonly workflow: string
    readonly client: string
    readonly status: string
    readonly createdAt: number
    readonly endedAt: number | null
    readonly error: { readonly step: string | null; readonly reason: string } | null
    readonly usage: Usage
    readonly retryOf: string | null
    readonly input: unknown
    readonly output: unknown
    readonly steps: ReadonlyArray<Step>
  }
  type Child = Node | string | null

  const main = document.querySelector("main")
  const notice = document.querySelector("#notice")
  const keyField = document.querySelector<HTMLInputElement>("#key")
  if (main === null || notice === null || keyField === null) return
  const stored = "ballast-key"
  const live = ["running", "waiting"]

  const el = (name: string, attributes: Readonly<Record<string, string>>, ...children: ReadonlyArray<Child>) => {
    const made = document.createElement(name)
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value)
    made.append(...children.filter((child) => child !== null))
    return made
  }
  const button = (text: string, act: () => Promise<void>, kind = "") => {
    const made = el("button", { type: "button", class: kind }, text)
    made.addEventListener("click", () => {
      made.setAttribute("disabled", "")
      void attempt(act).finally(() => made.removeAttribute("disabled"))
    })
    return made
  }
  const say = (text: string) => notice.replaceChildren(text)

  const send = async (path: string, init: RequestInit = {}): Promise<Response> => {
    const key = sessionStorage.getItem(stored)
    const response = await window.fetch(`/v1/workflows${path}`, {
      ...init,
      headers: {
        ...key !== null && { authorization: `Bearer ${key}` },
        ...init.body != null && { "content-type": "application/json" },
        ...Object.fromEntries(new Headers(init.headers))
      }
    })
    if (response.ok) return response
    const body: { readonly error?: { readonly message?: string } } = await response.json().catch(() => ({}))
    if (response.status === 401) keyField.focus()
    throw new Error(body.error?.message ?? `The gateway answered with status ${response.status}.`)
  }
  const attempt = (act: () => Promise<void>) =>
    act().catch((error: unknown) => say(error instanceof Error ? error.message : String(error)))

  const dates = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" })
  const timeOf = (at: number) => dates.format(at)
  const lengthOf = (from: number, to: number | null) => {
    const millis = (to ?? Math.round(window.performance.timeOrigin + window.performance.now())) - from
    return millis < 1_000
      ? `${millis} ms`
      : millis < 60_000
      ? `${(millis / 1_000).toFixed(1)} s`
      : `${Math.floor(millis / 60_000)} min ${Math.floor(millis / 1_000) % 60} s`
  }
  const tokensOf = ({ completionTokens, promptTokens }: Usage) => {
    const all = promptTokens + completionTokens
    return all === 0 ? "" : String(all)
  }
  const costOf = ({ cost }: Usage) =>
    Object.entries(cost).map(([currency, amount]) => `${amount} ${currency}`).join(", ")
  const badge = (status: string) => el("span", { class: `status ${status}` }, status)
  const table = (names: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<Child>>) =>
    el(
      "table",
      {},
      el("thead", {}, el("tr", {}, ...names.map((name) => el("th", {}, name)))),
      el("tbody", {}, ...rows.map((cells) => el("tr", {}, ...cells.map((cell) => el("td", {}, cell)))))
    )
  /** Values that are open stay open when the page is drawn again. */
  const open = new Set<string>()
  const value = (name: string, of: string, it: unknown) => {
    if (it === null || it === undefined) return null
    const key = `${of} ${name}`
    const text = JSON.stringify(it, null, 2)
    const made = el("details", {}, el("summary", {}, name), el("pre", {}, text))
    if (open.has(key)) made.setAttribute("open", "")
    made.addEventListener("toggle", () => made.hasAttribute("open") ? open.add(key) : open.delete(key))
    return made
  }

  // A list

  const drawList = async () => {
    const status = new URLSearchParams(location.search).get("status") ?? ""
    const query = new URLSearchParams(location.search)
    const { data, next }: { readonly data: ReadonlyArray<Run>; readonly next: string | null } =
      await (await send(`/-/runs?${query}`)).json()
    const choices = ["", "running", "waiting", "succeeded", "failed", "cancelled"].map((one) =>
      el(
        "a",
        { href: one === "" ? "?" : `?status=${one}`, class: one === status ? "chosen" : "" },
        one === "" ? "all" : one
      )
    )
    if (next !== null) query.set("cursor", next)
    main.replaceChildren(
      el("h1", {}, "Runs"),
      el("p", { class: "choices" }, ...choices),
      data.length === 0 ? el("p", {}, "There are none.") : table(
        ["workflow", "run", "status", "started", "took", "tokens", "cost", "client"],
        data.map((run) => [
          run.workflow,
          el("a", { href: `/workflows/runs/${encodeURIComponent(run.id)}` }, run.id.slice(0, 8)),
          badge(run.status),
          timeOf(run.createdAt),
          lengthOf(run.createdAt, run.endedAt),
          tokensOf(run.usage),
          costOf(run.usage),
          run.client
        ])
      ),
      next === null ? "" : el("a", { href: `?${query}` }, "older")
    )
  }

  // A run

  const decide = (run: Run, { id, question = "" }: Step) => {
    const comment = el("input", { placeholder: "comment", "aria-label": "comment" })
    const give = (approved: boolean) => async () => {
      const body = JSON.stringify({ approved, comment: comment instanceof HTMLInputElement ? comment.value : "" })
      await send(`/-/runs/${run.id}/approvals/${encodeURIComponent(id)}`, { method: "POST", body })
      say(approved ? "Approved." : "Rejected.")
    }
    return el(
      "section",
      { class: "approval" },
      el("strong", {}, question === "" ? `Approve ${id}?` : question),
      comment,
      button("Approve", give(true), "good"),
      button("Reject", give(false), "bad")
    )
  }

  let drawn = ""
  const drawRun = async (id: string) => {
    const text = await (await send(`/-/runs/${encodeURIComponent(id)}`)).text()
    const run: Run = JSON.parse(text)
    // A button that is drawn again while it is pressed would not be clicked.
    if (text === drawn) return run
    drawn = text
    const act = (what: string) => async () => {
      const made: Json = await (await send(`/-/runs/${run.id}/${what}`, {
        method: "POST",
        headers: { prefer: "respond-async" }
      })).json()
      if (what === "retry") location.assign(`/workflows/runs/${encodeURIComponent(String(made["id"]))}`)
      else say("It is being cancelled.")
    }
    const picture = await graphOf(run)
    // What a person writes is not drawn over.
    if (document.activeElement?.closest(".approval") != null && run.status === "waiting") {
      drawn = ""
      return run
    }
    main.replaceChildren(
      el("h1", {}, run.workflow, " ", badge(run.status)),
      el(
        "p",
        { class: "facts" },
        `run ${run.id} of ${run.client}, started ${timeOf(run.createdAt)}, ${run.endedAt === null ? "for" : "took"} ${
          lengthOf(run.createdAt, run.endedAt)
        }`,
        tokensOf(run.usage) === "" ? "" : `, ${tokensOf(run.usage)} tokens`,
        costOf(run.usage) === "" ? "" : `, ${costOf(run.usage)}`
      ),
      run.retryOf === null
        ? ""
        : el(
          "p",
          {},
          "goes on from ",
          el("a", { href: `/workflows/runs/${encodeURIComponent(run.retryOf)}` }, run.retryOf)
        ),
      run.error === null
        ? ""
        : el("p", { class: "error" }, `${run.error.step === null ? "" : `${run.error.step}: `}${run.error.reason}`),
      el(
        "p",
        {},
        live.includes(run.status) ? button("Cancel", act("cancel"), "bad") : null,
        run.status === "failed" || run.status === "cancelled" ? button("Try again", act("retry"), "good") : null
      ),
      ...run.steps.filter(({ status }) => status === "waiting" && live.includes(run.status)).map((step) =>
        decide(run, step)
      ),
      picture ?? "",
      table(
        ["step", "state", "attempts", "took", "tokens", "cost", "values"],
        run.steps.map((step) => [
          step.service === "" || step.service === step.id ? step.id : `${step.id}: ${step.service}`,
          badge(step.status),
          step.attempts === 0 ? "" : String(step.attempts),
          step.status === "skipped" || step.status === "kept" ? "" : lengthOf(step.startedAt, step.endedAt),
          tokensOf(step.usage),
          costOf(step.usage),
          el(
            "div",
            {},
            step.error === null ? null : el("p", { class: "error" }, step.error),
            value("input", step.id, step.input),
            value("output", step.id, step.output)
          )
        ])
      ),
      el("div", { class: "values" }, value("input of the run", "", run.input), value("result", "", run.output))
    )
    return run
  }

  /** As an image, in which nothing runs. */
  const graphOf = async (run: Run) => {
    const svg = await (await send(`/-/runs/${run.id}/graph`)).text()
    const image = el("img", { alt: `the steps of ${run.workflow}`, class: "graph" })
    const url = URL.createObjectURL(new Blob([svg], { type: "image/svg+xml" }))
    image.addEventListener("load", () => URL.revokeObjectURL(url))
    image.setAttribute("src", url)
    return image
  }

  /** Draws the run again after each event, until it has ended. */
  const follow = async (id: string) => {
    let last = "0"
    while (true) {
      const response = await send(`/-/runs/${encodeURIComponent(id)}/events`, { headers: { "last-event-id": last } })
      const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader()
      let text = ""
      while (reader !== undefined) {
        const { done, value: part } = await reader.read()
        if (done) break
        text += part
        const end = text.lastIndexOf("\n\n")
        if (end === -1) continue
        last = text.slice(0, end).match(/^id: \d+$/gm)?.at(-1)?.slice(4) ?? last
        text = text.slice(end + 2)
        await drawRun(id)
      }
      if (!live.includes((await drawRun(id)).status)) return
      await new Promise((resolve) => window.setTimeout(resolve, 1_000))
    }
  }

  const [, id] = /^\/workflows\/runs\/([^/]+)$/.exec(location.pathname) ?? []
  const draw = () =>
    attempt(async () => {
      say("")
      if (id === undefined) return await drawList()
      await follow(decodeURIComponent(id))
    })
  document.querySelector("form")?.addEventListener("submit", (event) => {
    event.preventDefault()
    if (keyField.value === "") sessionStorage.removeItem(stored)
    else sessionStorage.setItem(stored, keyField.value)
    keyField.value = ""
    drawn = ""
    void draw()
  })
  void draw()
}

export const script = `(${app.toString()})()\n`

export const html = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Runs of workflows</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/workflows/page.css">
<script type="module" src="/workflows/page.js"></script>
</head>
<body>
<header>
<a href="/workflows">Ballast · workflows</a>
<form autocomplete="off"><input id="key" type="password" placeholder="client's key" aria-label="client's key"><button>Use</button></form>
</header>
<p id="notice" role="status"></p>
<main></main>
</body>
</html>
`

export const style =
  `:root { color-scheme: light dark; --line: #8884; --good: #1a7f4b; --bad: #c0392b; --wait: #b7791f; --run: #2563c9 }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 72rem; padding: 0 1rem 3rem }
header { display: flex; justify-content: space-between; align-items: center; border-bottom: 1px solid var(--line); padding: .7rem 0 }
header a { font-weight: 600; text-decoration: none; color: inherit }
h1 { font-size: 1.4rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem; border-bottom: 1px solid var(--line) }
th { font-weight: 600; font-size: .85rem; opacity: .75 }
pre { margin: .3rem 0; padding: .5rem; background: #8881; overflow: auto; max-height: 20rem; max-width: 36rem; font-size: .85rem }
button, input { font: inherit; padding: .25rem .7rem; border: 1px solid var(--line); border-radius: .3rem; margin-right: .4rem }
button.good { border-color: var(--good); color: var(--good) }
button.bad { border-color: var(--bad); color: var(--bad) }
.status { font-size: .85rem; font-weight: 600; padding: .05rem .5rem; border-radius: 1rem; border: 1px solid currentColor }
.succeeded, .kept { color: var(--good) }
.failed, .error { color: var(--bad) }
td .error { margin: 0 }
.waiting { color: var(--wait) }
.running { color: var(--run) }
.skipped, .cancelled { opacity: .6 }
.facts { opacity: .8 }
.choices a { margin-right: .8rem }
.choices .chosen { font-weight: 700 }
.approval { border: 1px solid var(--wait); border-radius: .4rem; padding: .7rem; margin: .7rem 0 }
.approval strong { display: block; margin-bottom: .5rem }
.graph { display: block; max-width: 100%; max-height: 26rem; margin: 1rem 0; background: #fff; border-radius: .4rem }
#notice:empty { display: none }
#notice { background: #8882; padding: .5rem .8rem; border-radius: .3rem }
`
