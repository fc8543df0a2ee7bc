/**
 * Many streams open at once through a server process: memory for each, CPU time for each event, and how late events are. All numbers of
 * streams have the same events a second, so that a delay that grows is the number's doing.
 */
import * as Fs from "node:fs"
import { Agent, request } from "node:http"
import * as Os from "node:os"
import * as Path from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { type Server, startServer } from "./process.ts"
import { requestBody } from "./traffic.ts"

/** Over all streams. */
const eventsPerSecond = 500

const body = requestBody(true)

/** Opens a stream and notes the delay of each of its events, in milliseconds; ends with it. */
const open = (url: string, agent: Agent, delays: Array<number>): Promise<void> =>
  new Promise((resolve, reject) => {
    const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(body) }
    request(`${url}/chat/completions`, { method: "POST", agent, headers }, (response) => {
      if (response.statusCode !== 200) reject(new Error(`status ${response.statusCode}`))
      response.setEncoding("utf8").on("data", (text: string) => {
        const now = performance.timeOrigin + performance.now()
        for (const [, sent] of text.matchAll(/"sent":([\d.]+)/g)) delays.push(now - Number(sent))
      }).on("end", resolve).on("error", reject)
    }).on("error", reject).end(body)
  })

/** Opens streams one after the other over the pause between two events of one, so that their events are spread evenly. */
const openAll = async (
  url: string,
  count: number,
  pause: number,
  delays: Array<number>,
  full?: () => Promise<void>
) => {
  const agent = new Agent({ keepAlive: false, maxSockets: Infinity })
  const streams: Array<Promise<void>> = []
  const began = performance.now()
  for (let index = 0; index < count; index++) {
    const early = began + (index * pause) / count - performance.now()
    if (early > 1) await sleep(early)
    streams.push(open(url, agent, delays))
  }
  await full?.()
  await Promise.all(streams)
}

const percentile = (sorted: ReadonlyArray<number>, share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN

const measure = async (name: string, server: Server, count: number, pause: number): Promise<string> => {
  await openAll(server.url, 300, 300, [])
  await sleep(1000)
  const delays: Array<number> = []
  const memory = await server.memory()
  const cpu = await server.cpu()
  let held = 0
  await openAll(server.url, count, pause, delays, async () => {
    held = await server.memory() - memory
  })
  const perEvent = (await server.cpu() - cpu) / delays.length
  const sorted = delays.toSorted((a, b) => a - b)
  const cells = [held / count / 1000, perEvent, percentile(sorted, 0.5), percentile(sorted, 0.99)]
  return `${count} streams, ${name}`.padEnd(36) + cells.map((cell) => cell.toFixed(1).padStart(12)).join("")
}

/** A settings file for a gateway that takes that many calls at once. */
const settings = (baseUrl: string, count: number): string => {
  const file = Path.join(Fs.mkdtempSync(Path.join(Os.tmpdir(), "bench-")), "ballast.yaml")
  const accounts = { default: { keys: ["bench"] } }
  const provider = { type: "deepseek", baseUrl, accounts, concurrency: { "deepseek-flash": 2 * count } }
  Fs.writeFileSync(file, JSON.stringify({ providers: { deepseek: provider } }))
  return file
}

/** Files of a process beside those of its streams. */
const otherFiles = 200

/** How many streams a server may have: each takes a connection on either side. */
const mostStreams = (): number => {
  const limits = Fs.existsSync("/proc/self/limits") ? Fs.readFileSync("/proc/self/limits", "utf8") : ""
  const [, files = Infinity] = /^Max open files +(\d+)/m.exec(limits) ?? []
  return Math.floor((Number(files) - otherFiles) / 2)
}

/** Runs the comparison and prints it as it comes. */
export const run = async (): Promise<void> => {
  console.log(`\nstreams: open at once, ${eventsPerSecond} events a second over all of them`)
  console.log("".padEnd(36) + ["kB each", "CPU µs/event", "p50 ms", "p99 ms"].map((cell) => cell.padStart(12)).join(""))
  for (const count of [1000, Math.min(10_000, mostStreams())]) {
    const pause = Math.round((count / eventsPerSecond) * 1000)
    const service = await startServer("bench/src/service.ts", { args: ["paced", `${pause}`] })
    const env = { DEEPSEEK_BASE_URL: service.url, OTEL_EXPORTER_OTLP_ENDPOINT: "" }
    const sides = {
      "pass-through": () => startServer("bench/src/passThrough.ts", { env }),
      gateway: () =>
        startServer("packages/gateway/src/main.ts", {
          args: ["serve", "--config", settings(service.url, count)],
          env: { OTEL_EXPORTER_OTLP_ENDPOINT: "" }
        })
    }
    for (const [name, start] of Object.entries(sides)) {
      const server = await start()
      console.log(await measure(name, server, count, pause))
      await server.stop()
    }
    await service.stop()
  }
}
