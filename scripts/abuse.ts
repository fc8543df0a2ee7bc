/**
 * Attacks a gateway as a hostile client or a hostile upstream would, and fails if an attack hurts others: `/healthz` must answer within
 * a second throughout (what a busy machine adds does not count), the process must survive with a heap of 512 MiB and stay below
 * 1 GiB in all, and each attack must end as it should. An attack that hurts is run again, three times in all: a busy machine may hurt
 * once, a fault of the gateway hurts each time. Everything runs on loopback, in children that end with this program.
 * `npm run abuse -- queue host` runs only the attacks whose names contain a word.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import * as Net from "node:net"
import * as Path from "node:path"
import { setTimeout as sleep } from "node:timers/promises"

const root = Path.resolve(import.meta.dirname, "..")
const gatewayMain = Path.join(root, "packages/gateway/src/main.ts")

const healthLimit = 1_000
const attackLimit = 30_000
/** MiB. */
const memoryLimit = 1024
/** How often an attack is run until it does not hurt. */
const runs = 3

const none = Buffer.alloc(0)

/** A gateway under attack. */
interface Target {
  readonly child: ChildProcess
  readonly port: number
  readonly stderr: () => string
}

interface Attack {
  readonly name: string
  readonly env?: Record<string, string>
  /** What is sent, made before anything is measured. */
  readonly body?: () => Buffer
  /** What came back, in a few words. */
  readonly run: (target: Target, body: Buffer) => Promise<string>
  readonly expected: RegExp
  /** The attack stops the gateway, so that there is no health to ask for. */
  readonly stops?: true
}

const children = new Set<ChildProcess>()
process.on("exit", () => {
  for (const child of children) child.kill("SIGKILL")
})
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(1))

const track = (child: ChildProcess): ChildProcess => {
  children.add(child)
  child.once("exit", () => children.delete(child))
  return child
}

/** Waits until a child's standard output matches. */
const printed = (child: ChildProcess, pattern: RegExp): Promise<string> =>
  new Promise((resolve, reject) => {
    let text = ""
    child.stdout?.setEncoding("utf8").on("data", (part: string) => {
      text += part
      const match = pattern.exec(text)
      if (match !== null) resolve(match[1] ?? "")
    })
    child.once("exit", (code) => reject(new Error(`a child ended with ${code}`)))
  })

const startUpstream = async (): Promise<string> => {
  const child = track(spawn(process.execPath, [Path.join(root, "scripts/abuse/upstream.ts")], {
    stdio: ["ignore", "pipe", "inherit", "ipc"]
  }))
  return `http://127.0.0.1:${await printed(child, /^(\d+)\n/)}`
}

const startGateway = async (upstream: string, env: Record<string, string> = {}): Promise<Target> => {
  const child = track(spawn(process.execPath, ["--max-old-space-size=512", gatewayMain, "serve"], {
    env: {
      PATH: process.env.PATH,
      PORT: "0",
      DEEPSEEK_API_KEY: "sk-none",
      DEEPSEEK_BASE_URL: upstream,
      BALLAST_DATABASE: ":memory:",
      ...env
    },
    stdio: ["ignore", "pipe", "pipe"]
  }))
  let stderr = ""
  child.stderr?.setEncoding("utf8").on("data", (text: string) => stderr += text)
  const port = Number(await printed(child, /listens on http:\/\/127\.0\.0\.1:(\d+)/))
  return { child, port, stderr: () => stderr }
}

/** Sends bytes on a connection of its own and gives the status of what comes back, or the error; `all` gives everything. */
const raw = (target: Target, bytes: ReadonlyArray<string | Buffer>, options?: { halfClose?: true; all?: true }) =>
  new Promise<string>((resolve) => {
    let received = ""
    let end = ""
    const socket = Net.connect(target.port, "127.0.0.1")
    socket.setEncoding("latin1").on("data", (text: string) => {
      // Of an endless answer the beginning and the end are kept.
      if (received.length < 1_000_000) received += text
      else end = (end + text).slice(-10_000)
    })
    socket.on("error", (error: NodeJS.ErrnoException) => received ||= error.code ?? error.message)
    socket.on("close", () => {
      const final = (received + end).replace(/^(?:HTTP\/1\.1 1\d\d [^\r]*\r\n\r\n)+/, "")
      resolve(options?.all === true ? final : /^HTTP\/1\.1 (\d+)/.exec(final)?.[1] ?? (final.slice(0, 40) || "nothing"))
    })
    for (const part of bytes) socket.write(part)
    if (options?.halfClose === true) socket.end()
  })

const head = (length: number, ...lines: ReadonlyArray<string>) =>
  [
    "POST /v1/chat/completions HTTP/1.1",
    ...(lines.some((line) => line.startsWith("host:")) ? [] : ["host: localhost"]),
    "content-type: application/json",
    `content-length: ${length}`,
    "connection: close",
    ...lines,
    "",
    ""
  ].join("\r\n")

const post = (target: Target, body: Buffer | string, ...lines: ReadonlyArray<string>) =>
  raw(target, [head(Buffer.byteLength(body), ...lines), body])

const chat = (content: string, more: Record<string, unknown> = {}) =>
  JSON.stringify({ model: "deepseek-flash", messages: [{ content, role: "user" }], ...more })

/** A chat with a field of so many MiB of a text, repeated. */
const large = (mebibytes: number, text = "", open = "", close = ""): Buffer => {
  const start = Buffer.from(chat("hello").replace(/\}$/, `,"x":${open}`))
  const filling = Buffer.alloc(mebibytes * 1024 * 1024 - start.length - 10 - 1024 * 1024, text)
  return Buffer.concat([start, filling, Buffer.from(`${close}}`)])
}

const get = (...lines: ReadonlyArray<string>) =>
  `GET /v1/models HTTP/1.1\r\n${[...lines, "connection: close"].join("\r\n")}\r\n\r\n`

const stream = (content: string, ...lines: ReadonlyArray<string>) => (target: Target) => {
  const body = chat(content, { stream: true })
  return raw(target, [head(body.length, ...lines), body], { all: true }).then((text) => {
    const end = text.includes("data: [DONE]") ? "[DONE]" : text.includes("\"error\"") ? "an error" : "a cut"
    return `${text.slice(9, 12)} and ${end}`
  })
}

const widest = { BALLAST_MAX_BODY_SIZE: "48MiB" }

/** A call that is given up soon, so that what would be tried again for a minute ends. */
const soon = "x-request-timeout: 5s"

const filled = (name: string, text: string, open: string, close: string): Attack => ({
  name: `body: 14 MiB of ${name}`,
  body: () => large(15, text, open, close),
  run: (target, body) => post(target, body),
  expected: /^(?:200|400|413|503)$/
})

const exit = async ({ child }: Target) => child.exitCode ?? (await once(child, "exit"))[0]

/** Takes connections and says nothing. */
const silent = Net.createServer((socket) => socket.on("error", () => {}).resume()).unref()
await once(silent.listen(0, "127.0.0.1"), "listening")
const silentUrl = `http://127.0.0.1:${(silent.address() as Net.AddressInfo).port}`

/** How long a gateway takes to end, in milliseconds. */
const stopTime = async (target: Target) => {
  await raw(target, [get("host: localhost")])
  const begin = performance.now()
  target.child.kill("SIGTERM")
  await exit(target)
  return performance.now() - begin
}

const upstream = await startUpstream()

const attacks: ReadonlyArray<Attack> = [
  {
    name: "mask: a role of 100,000 asterisks that comes back in the error",
    run: (target) => post(target, chat("mask").replace("\"user\"", `"${"*".repeat(100_000)}"`)),
    expected: /^4\d\d$/
  },
  filled("{}, in a list", "{},", "[", "{}]"),
  filled("[", "[", "", ""),
  filled("0,", "0,", "[", "0]"),
  filled("line feeds", "\n", "", "0"),
  ...[["text", "a", "\"", "\""], ["[", "[", "", ""]].map(([name = "", ...parts]): Attack => ({
    name: `body: three of 47 MiB of ${name} at once`,
    env: widest,
    body: () => large(48, ...parts),
    run: async (target, body) => (await Promise.all([1, 2, 3].map(() => post(target, body)))).join(),
    expected: /^(?:(?:200|400|413|503),?){3}$/
  })),
  { name: "answer: endless and whole", run: (target) => post(target, chat("endless whole")), expected: /^502$/ },
  {
    name: "answer: eight of 60 MiB at once, whole",
    run: async (target) =>
      (await Promise.all(Array.from({ length: 8 }, () => post(target, chat("large whole"))))).join(),
    expected: /^(?:200,?){8}$/
  },
  { name: "answer: endless error", run: (target) => post(target, chat("endless error")), expected: /^[45]\d\d$/ },
  {
    name: "answer: endless chunks that say nothing",
    run: stream("endless empty", soon),
    expected: /^(?:504|200) and an error$/
  },
  { name: "answer: 100,000 tool calls in a chunk", run: stream("tools"), expected: /^(?:200 and|502 and an error)/ },
  { name: "answer: 8 MiB after [DONE]", run: stream("late"), expected: /^200 and \[DONE\]$/ },
  {
    name: "answer: unknown model with 100,000 blanks",
    run: (target) => post(target, chat("blanks")),
    expected: /^4\d\d$/
  },
  { name: "answer: endless 1xx", run: (target) => post(target, chat("interim"), soon), expected: /^50\d$/ },
  {
    name: "fairness: five failing calls of one caller, then another's call",
    run: async (target) => {
      await Promise.all(Array.from({ length: 5 }, () => post(target, chat("failing"), soon)))
      return post(target, chat("hello"))
    },
    expected: /^200$/
  },
  {
    name: "client: a body that drips",
    env: { BALLAST_REQUEST_TIMEOUT: "2s" },
    run: (target) => raw(target, [head(1_000_000), "{"]),
    expected: /^408$/
  },
  {
    name: "client: half-closes after its request",
    run: (target) => raw(target, [head(chat("hello").length), chat("hello")], { halfClose: true }),
    expected: /^200$/
  },
  {
    name: "host: rebinding, a foreign page, two hosts",
    run: async (target) =>
      (await Promise.all([
        raw(target, [get("host: evil.example")]),
        raw(target, [get("host: localhost", "origin: https://evil.example")]),
        raw(target, [get("host: localhost", "host: localhost")])
      ])).join(),
    expected: /^403,403,400$/
  },
  {
    name: "log: control characters in a model's name and a path",
    env: { BALLAST_LOG_FORMAT: "pretty" },
    run: async (target) => {
      const model = "\u001b[2J\u0007\u009b31m\u202e\u2066\u200f"
      await post(target, JSON.stringify({ model, messages: [{ role: "user", content: "hello" }] }))
      await raw(target, [`GET /\u009b31m HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n`])
      await sleep(200)
      // oxlint-disable-next-line no-control-regex -- they are what is looked for
      return /[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/.test(target.stderr())
        ? "raw"
        : "escaped"
    },
    expected: /^escaped$/
  },
  {
    name: "stop: 40 requests in the accept queue at SIGTERM",
    stops: true,
    run: async (target) => {
      target.child.kill("SIGSTOP")
      const answers = Array.from(
        { length: 40 },
        () => raw(target, [get("host: localhost").replace("/v1/models", "/healthz")])
      )
      await sleep(300)
      target.child.kill("SIGTERM")
      target.child.kill("SIGCONT")
      const answered = (await Promise.all(answers)).filter((status) => status === "200").length
      return `${answered} answered, exit ${await exit(target)}`
    },
    expected: /^40 answered, exit 0$/
  },
  {
    name: "stop: a collector that never answers",
    env: { OTEL_EXPORTER_OTLP_ENDPOINT: silentUrl },
    stops: true,
    run: async (target) => {
      const usual = await stopTime(await startGateway(upstream))
      return await stopTime(target) - usual < 2_000 ? "soon" : "late"
    },
    expected: /^soon$/
  }
]

/** Watches a gateway from now on; what comes back ends that. */
const watch = async ({ child, port }: Target) => {
  const probe = track(
    spawn(process.execPath, [Path.join(root, "scripts/abuse/probe.ts"), `${port}`, `${child.pid}`], {
      stdio: ["ignore", "pipe", "inherit", "ipc"]
    })
  )
  await once(probe, "message")
  return async () => {
    const result = printed(probe, /^(.+)$/)
    probe.kill("SIGTERM")
    const { peak, slowest }: { readonly peak: number; readonly slowest: number | null } = JSON.parse(await result)
    return { peak, slowest: slowest ?? Infinity }
  }
}

const unwatched = () => Promise.resolve({ slowest: 0, peak: 0 })

const runAttack = async (attack: Attack): Promise<boolean> => {
  const body = attack.body?.() ?? none
  const target = await startGateway(upstream, attack.env)
  const end = attack.stops === true ? unwatched : await watch(target)
  const outcome = await Promise.race([
    attack.run(target, body),
    sleep(attackLimit, `no end in ${attackLimit / 1000} s`, { ref: false })
  ])
  const { peak, slowest } = await end()
  const died = attack.stops !== true && target.child.exitCode !== null
  const passed = attack.expected.test(outcome) && !died && slowest < healthLimit && peak < memoryLimit
  const health = attack.stops === true ? "" : `, health within ${Math.round(slowest)} ms, ${Math.round(peak)} MiB`
  console.log(`${passed ? "✓" : "✗"} ${attack.name}: ${outcome}${died ? ", and the gateway died" : ""}${health}`)
  target.child.kill("SIGKILL")
  return passed
}

const words = process.argv.slice(2)
const chosen = attacks.filter(({ name }) => words.length === 0 || words.some((word) => name.includes(word)))
let failed = 0
for (const attack of chosen) {
  let passed = false
  for (let run = 0; run < runs && !passed; run++) passed = await runAttack(attack)
  if (!passed) failed++
}
console.log(failed === 0 ? "\nNo attack hurts." : `\n${failed} of ${chosen.length} attacks hurt.`)
process.exit(failed === 0 ? 0 : 1)
