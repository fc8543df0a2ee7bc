/**
 * Measures how many attempts one call of the OpenAI SDK at its defaults costs, and how long it takes, where the service is down, refuses, or
 * is slow: with the SDK alone, and through a gateway at its defaults. Prints the table of `docs/retries.md`. Everything runs on loopback, and
 * ends after five minutes at most.
 */
import { type ChildProcess, spawn } from "node:child_process"
import * as Http from "node:http"
import * as Net from "node:net"
import * as Path from "node:path"
import OpenAI from "openai"

const gatewayMain = Path.resolve(import.meta.dirname, "../packages/gateway/src/main.ts")
const limit = 300_000

interface Reply {
  readonly status: number
  readonly headers?: Record<string, string>
  readonly body: string
  /** Milliseconds before the answer; `Infinity` for none. */
  readonly after?: number
}

interface Scenario {
  readonly name: string
  /** The answer to the attempt of this number, from zero, so many milliseconds after the first. */
  readonly reply: (attempt: number, since: number) => Reply
  readonly isDown?: true
  readonly stream?: true
  /** The call's timeout in milliseconds, where it is not the SDK's default of ten minutes. */
  readonly timeout?: number
}

const answer: Reply = {
  status: 200,
  headers: { "content-type": "application/json" },
  body: JSON.stringify({
    id: "1",
    object: "chat.completion",
    created: 1,
    model: "m",
    choices: [{ index: 0, message: { role: "assistant", content: "Hello" }, finish_reason: "stop" }]
  })
}

const refusal = (status: number, message: string, headers: Record<string, string> = {}): Reply => ({
  status,
  headers: { "content-type": "application/json", ...headers },
  body: JSON.stringify({ error: { message, type: "error", code: null } })
})

const busy = refusal(503, "Service is too busy.")
const limited = refusal(429, "Too many requests.")
const hinted = refusal(429, "Too many requests.", { "retry-after": "5" })
const crowded = refusal(429, "Your current concurrency is 2, which exceeds the concurrency limit of 1.")
const broken: Reply = {
  status: 200,
  headers: { "content-type": "text/event-stream" },
  body: ": keep-alive\n\n"
}

const scenarios: ReadonlyArray<Scenario> = [
  { name: "is down: connections are refused", reply: () => busy, isDown: true },
  { name: "answers 503", reply: () => busy },
  { name: "answers 503 to a stream", reply: () => busy, stream: true },
  { name: "answers 503 for two seconds, then well", reply: (_, since) => since < 2_000 ? busy : answer },
  { name: "answers 429 without a hint", reply: () => limited },
  { name: "answers 429 with `Retry-After: 5`", reply: () => hinted },
  { name: "answers 429 with `Retry-After: 5` once, then well", reply: (attempt) => attempt === 0 ? hinted : answer },
  {
    name: "answers 429 with its concurrency limit once, then well",
    reply: (attempt) => attempt === 0 ? crowded : answer
  },
  { name: "ends streams before their first token", reply: () => broken, stream: true },
  { name: "needs 20 s for its answer", reply: () => ({ ...answer, after: 20_000 }) },
  {
    name: "does not answer, and the call has `timeout: 5_000`",
    reply: () => ({ ...answer, after: Infinity }),
    timeout: 5_000
  },
  { name: "does not know the key: 401", reply: () => refusal(401, "Authentication Fails.") }
]

/** What has come of the call that a model's name stands for. */
interface Call {
  attempts: number
  readonly since: number
}

const calls = new Map<string, Call>()

/** The service of all scenarios; a request's model says which, and whose call it is. */
const startService = async (): Promise<string> => {
  const server = Http.createServer(async (request, response) => {
    let text = ""
    for await (const piece of request.setEncoding("utf8")) text += piece
    const { model } = JSON.parse(text)
    const call = calls.get(model) ?? { attempts: 0, since: performance.now() }
    calls.set(model, call)
    const reply = scenarios[Number(model.split("-")[1])]?.reply(call.attempts++, performance.now() - call.since)
    if (reply === undefined || reply.after === Infinity) return
    setTimeout(() => response.writeHead(reply.status, reply.headers).end(reply.body), reply.after ?? 0)
  })
  return `http://127.0.0.1:${await listening(server)}`
}

const listening = (server: Net.Server): Promise<number> =>
  new Promise((resolve) =>
    server.listen(0, "127.0.0.1", () => {
      const address = server.address()
      resolve(typeof address === "object" && address !== null ? address.port : 0)
    })
  )

/** A port on which nothing listens. */
const closedPort = async (): Promise<number> => {
  const server = Net.createServer()
  const port = await listening(server)
  await new Promise((resolve) => server.close(resolve))
  return port
}

const children = new Set<ChildProcess>()
process.on("exit", () => {
  for (const child of children) child.kill("SIGKILL")
})

const startGateway = (upstream: string): Promise<string> =>
  new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [gatewayMain, "serve"], {
      env: {
        PATH: process.env.PATH,
        PORT: "0",
        DEEPSEEK_API_KEY: "sk-none",
        DEEPSEEK_BASE_URL: upstream,
        BALLAST_DATABASE: ":memory:"
      },
      stdio: ["ignore", "pipe", "ignore"]
    })
    children.add(child)
    let text = ""
    child.stdout.setEncoding("utf8").on("data", (part: string) => {
      text += part
      const url = /listens on (http:\/\/\S+)/.exec(text)?.[1]
      if (url !== undefined) resolve(url)
    })
    child.once("exit", (code) => reject(new Error(`the gateway ended with ${code}`)))
  })

interface Measured {
  /** Of the SDK. */
  readonly requests: number
  /** At the service. */
  readonly attempts: number
  readonly seconds: number
  readonly end: string
}

/** One call of the SDK, at its defaults. Attempts at a service that is down are those that the gateway tells of. */
const measure = async (baseURL: string, isGateway: boolean, scenario: Scenario, number: number): Promise<Measured> => {
  let requests = 0
  let told = 0
  const openai = new OpenAI({
    apiKey: "sk-none",
    baseURL,
    fetch: async (url, init) => {
      requests++
      const response = await fetch(url, init)
      if (isGateway) told += Number(response.headers.get("x-ballast-attempts"))
      return response
    }
  })
  const began = performance.now()
  const model = `${isGateway ? "gateway" : "alone"}-${number}`
  const messages = [{ role: "user" as const, content: "Hello" }]
  const options = scenario.timeout === undefined ? {} : { timeout: scenario.timeout }
  const run = async (): Promise<string> => {
    if (scenario.stream !== true) {
      await openai.chat.completions.create({ model, messages }, options)
      return "answer"
    }
    let chunks = 0
    for await (const _ of await openai.chat.completions.create({ model, messages, stream: true })) chunks++
    return chunks === 0 ? "nothing, and no error" : "answer"
  }
  const end = await run().catch((error: unknown) =>
    error instanceof OpenAI.APIError ? String(error.status ?? error.constructor.name) : String(error)
  )
  return {
    requests,
    attempts: calls.get(model)?.attempts ?? (isGateway ? told : requests),
    seconds: (performance.now() - began) / 1000,
    end
  }
}

const seconds = (value: number): string => value < 10 ? value.toFixed(1) : value.toFixed(0)

const main = async (): Promise<void> => {
  const service = await startService()
  const down = `http://127.0.0.1:${await closedPort()}`
  const services = scenarios.map(({ isDown }) => isDown === true ? down : service)
  // One for each, so that no scenario changes the limits and circuits of another.
  const gateways = await Promise.all(services.map(startGateway))
  const rows = await Promise.all(scenarios.map(async (scenario, number) => {
    const [alone, through] = await Promise.all([
      measure(services[number] ?? service, false, scenario, number),
      measure(`${gateways[number]}/v1`, true, scenario, number)
    ])
    return [
      scenario.name,
      alone.attempts,
      seconds(alone.seconds),
      alone.end,
      through.requests,
      through.attempts,
      seconds(through.seconds),
      through.end
    ]
  }))
  console.log(
    "| the service | SDK alone: attempts | seconds | ends with | through the gateway: requests | attempts | seconds | ends with |"
  )
  console.log("|---|--:|--:|---|--:|--:|--:|---|")
  for (const row of rows) console.log(`| ${row.join(" | ")} |`)
}

setTimeout(() => {
  console.error(`not done after ${limit / 1000} seconds`)
  process.exit(1)
}, limit).unref()
await main()
process.exit(0)
