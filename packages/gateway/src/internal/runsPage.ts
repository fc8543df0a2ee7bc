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

  /** Names the characters that turn the direction of what follows, so that a text shows in its own order. */
  const plain = (text: string) =>
    text.replace(
      /[\u202a-\u202e\u2066-\u2069]/g,
      (char) => `[U+${char.charCodeAt(0).toString(16).toUpperCase()}]`
    )
  const el = (name: string, attributes: Readonly<Record<string, string>>, ...children: ReadonlyArray<Child>) => {
    const made = document.createElement(name)
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value)
    made.append(
      ...children.filter((child) => child !== null).map((child) => typeof child === "string" ? plain(child) : child)
    )
    return made
  }
  /** `key` is what the button is known by when the page is drawn again. */
  const button = (text: string, key: string, act: () => Promise<void>, kind = "") => {
    const made = el("button", { type: "button", class: kind, "data-key": key }, text)
    // One that is disabled would lose the focus.
    made.addEventListener("click", () => {
      if (made.getAttribute("aria-disabled") === "true") return
      made.setAttribute("aria-disabled", "true")
      void attempt(act).finally(() => made.removeAttribute("aria-disabled"))
    })
    return made
  }
  const say = (text: string) => notice.replaceChildren(plain(text))
  /** Draws the page. What has the focus keeps it. */
  const show = (...children: ReadonlyArray<Child>) => {
    const key = document.activeElement?.getAttribute("data-key")
    main.replaceChildren(...children.filter((child) => child !== null))
    if (key == null) return
    Array.from(main.querySelectorAll<HTMLElement>("[data-key]")).find((one) => one.dataset["key"] === key)?.focus()
  }

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
    const message = body.error?.message ?? `The gateway answered with status ${response.status}.`
    throw new Error(message, { cause: response.status })
  }
  const messageOf = (error: unknown) => error instanceof Error ? error.message : String(error)
  const attempt = (act: () => Promise<void>) => act().catch((error: unknown) => say(messageOf(error)))
  /** Whether the same request may be answered later: there was no answer, or the gateway is busy. */
  const isPassing = (error: unknown) =>
    error instanceof TypeError ||
    (error instanceof Error && typeof error.cause === "number" && (error.cause >= 500 || error.cause === 429))

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
      "div",
      { class: "wide" },
      el(
        "table",
        {},
        el("thead", {}, el("tr", {}, ...names.map((name) => el("th", {}, name)))),
        el("tbody", {}, ...rows.map((cells) => el("tr", {}, ...cells.map((cell) => el("td", {}, cell)))))
      )
    )
  /** Values that are open stay open when the page is drawn again. */
  const open = new Set<string>()
  const value = (name: string, of: string, it: unknown) => {
    if (it === null || it === undefined) return null
    const key = `${of} ${name}`
    const text = JSON.stringify(it, null, 2)
    const made = el("details", {}, el("summary", { "data-key": key }, name), el("pre", {}, text))
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
    show(
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

  /** What a person writes stays when the page is drawn again. */
  const comments = new Map<string, HTMLInputElement>()
  const commentOn = (id: string) => {
    const found = comments.get(id)
    if (found !== undefined) return found
    const made = document.createElement("input")
    made.placeholder = "comment"
    made.setAttribute("aria-label", "comment")
    comments.set(id, made)
    return made
  }
  const decide = (run: Run, { id, question = "" }: Step) => {
    const comment = commentOn(id)
    const give = (approved: boolean) => async () => {
      const body = JSON.stringify({ approved, comment: comment.value })
      await send(`/-/runs/${run.id}/approvals/${encodeURIComponent(id)}`, { method: "POST", body })
      say(approved ? "Approved." : "Rejected.")
    }
    return el(
      "section",
      { class: "approval" },
      el("strong", {}, question === "" ? `Approve ${id}?` : question),
      comment,
      button("Approve", `approve ${id}`, give(true), "good"),
      button("Reject", `reject ${id}`, give(false), "bad")
    )
  }

  let drawn = ""
  const drawRun = async (id: string) => {
    const text = await (await send(`/-/runs/${encodeURIComponent(id)}`)).text()
    const run: Run = JSON.parse(text)
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
    // What a person writes is not drawn over. A button that is drawn again while it is pressed would not be clicked.
    if (run.status === "waiting" && main.querySelector(".approval input:focus, .approval button:active") !== null) {
      drawn = ""
      return run
    }
    show(
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
        live.includes(run.status) ? button("Cancel", "cancel", act("cancel"), "bad") : null,
        run.status === "failed" || run.status === "cancelled"
          ? button("Try again", "retry", act("retry"), "good")
          : null
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

  /** Draws the run again after each event that comes after `last`. */
  const readEvents = async (id: string, last: string, signal: AbortSignal, onEvent: (last: string) => void) => {
    const headers = { "last-event-id": last }
    const response = await send(`/-/runs/${encodeURIComponent(id)}/events`, { headers, signal })
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader()
    let text = ""
    while (reader !== undefined) {
      const { done, value: part } = await reader.read()
      if (done) return
      text += part
      const end = text.lastIndexOf("\n\n")
      if (end === -1) continue
      onEvent(text.slice(0, end).match(/^id: \d+$/gm)?.at(-1)?.slice(4) ?? last)
      text = text.slice(end + 2)
      await drawRun(id)
    }
  }

  /** Draws the run until it has ended. A connection that is lost is made again. */
  const follow = async (id: string, signal: AbortSignal) => {
    let last = "0"
    let isLost = false
    while (!signal.aborted) {
      try {
        const { status } = await drawRun(id)
        if (isLost) say("")
        isLost = false
        if (!live.includes(status)) return
        await readEvents(id, last, signal, (seen) => last = seen)
      } catch (error) {
        if (signal.aborted) return
        if (!isPassing(error)) throw error
        isLost = true
        say(`The gateway can not be reached (${messageOf(error)}). This is how the run was; trying again.`)
      }
      await new Promise((resolve) => window.setTimeout(resolve, 1_000))
    }
  }

  const [, id] = /^\/workflows\/runs\/([^/]+)$/.exec(location.pathname) ?? []
  let drawing = new AbortController()
  const draw = () => {
    drawing.abort()
    drawing = new AbortController()
    const { signal } = drawing
    return attempt(async () => {
      say("")
      if (id === undefined) return await drawList()
      await follow(decodeURIComponent(id), signal)
    })
  }
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
  `:root { color-scheme: light dark; --line: #8884; --good: #1a7f4b; --bad: #c0392b; --wait: #8a5a0b; --run: #2563c9 }
@media (prefers-color-scheme: dark) { :root { --good: #5fcf95; --bad: #ff8f80; --wait: #e5b15a; --run: #8ab6ff } }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 72rem; padding: 0 1rem 3rem; overflow-wrap: break-word }
header { display: flex; flex-wrap: wrap; gap: .4rem; justify-content: space-between; align-items: center; border-bottom: 1px solid var(--line); padding: .7rem 0 }
header a { font-weight: 600; text-decoration: none; color: inherit }
h1 { font-size: 1.4rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; width: 100%; min-width: 44rem }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem; border-bottom: 1px solid var(--line) }
th { font-weight: 600; font-size: .85rem; opacity: .75 }
pre { margin: .3rem 0; padding: .5rem; background: #8881; overflow: auto; max-height: 20rem; max-width: 36rem; font-size: .85rem }
button, input { font: inherit; color: inherit; background: transparent; padding: .25rem .7rem; border: 1px solid var(--line); border-radius: .3rem; margin-right: .4rem }
button[aria-disabled] { opacity: .6 }
::placeholder { color: inherit; opacity: .7 }
button.good { border-color: var(--good); color: var(--good) }
button.bad { border-color: var(--bad); color: var(--bad) }
.status { font-size: .85rem; font-weight: 600; padding: .05rem .5rem; border-radius: 1rem; border: 1px solid currentColor }
.succeeded, .kept { color: var(--good) }
.failed, .error { color: var(--bad) }
td:first-child { min-width: 9rem; overflow-wrap: anywhere }
td .error { margin: 0; min-width: 12rem; overflow-wrap: anywhere }
.waiting { color: var(--wait) }
.running { color: var(--run) }
.skipped, .cancelled { opacity: .6 }
.facts { opacity: .8 }
.choices { display: flex; flex-wrap: wrap; gap: .2rem .8rem }
.choices .chosen { font-weight: 700 }
.approval { border: 1px solid var(--wait); border-radius: .4rem; padding: .7rem; margin: .7rem 0 }
.approval strong { display: block; margin-bottom: .5rem }
.graph { display: block; max-width: 100%; max-height: 26rem; margin: 1rem 0; background: #fff; border-radius: .4rem }
#notice:empty { display: none }
#notice { background: #8882; padding: .5rem .8rem; border-radius: .3rem }
`
