/**
 * Asks for a gateway's health ten times a second, in a process of its own, so that nothing but the gateway and the machine delays an answer. What
 * the machine adds when it is busy is left out: a delay counts as far as an idle server asked at the same time does not share it, and as far as the
 * gateway has used the CPU meanwhile. One of ten seconds counts whole. Arguments: the gateway's port and process. On SIGTERM it prints
 * `{ slowest, peak }`: the longest delay in milliseconds (`null` when an answer failed) and the gateway's largest memory in MiB.
 */
import * as Fs from "node:fs"
import * as Http from "node:http"
import type * as Net from "node:net"
import { setTimeout as sleep } from "node:timers/promises"

const [port, pid] = process.argv.slice(2).map(Number)
const hung = 10_000

let slowest = 0
let peak = 0
let waiting: { readonly since: number; readonly used: number } | undefined

/** A file of the gateway's process; empty when it has ended, or where there is none. */
const read = (name: string): string => {
  try {
    return Fs.readFileSync(`/proc/${pid}/${name}`, "utf8")
  } catch {
    return ""
  }
}

/** The CPU time of the gateway, in milliseconds. */
const used = (): number => {
  const fields = read("stat").replace(/^.*\) /s, "").split(" ")
  return 10 * (Number(fields[11] ?? NaN) + Number(fields[12] ?? NaN))
}

const memory = () => {
  peak = Math.max(peak, Number(/VmHWM:\s+(\d+)/.exec(read("status"))?.[1] ?? 0) / 1024)
}

/** Counts an answer that took so many milliseconds, when an idle server took `idle`. */
const count = (usedBefore: number, taken: number, idle: number) => {
  const cpu = used() - usedBefore
  const delay = taken >= hung || Number.isNaN(cpu) ? taken - idle : Math.min(taken - idle, cpu)
  slowest = Math.max(slowest, delay)
}

/** How long a server takes to answer, in milliseconds. */
const ask = (port: number | undefined) => {
  const begin = performance.now()
  return new Promise<number>((resolve) =>
    Http.get(
      { port, host: "127.0.0.1", path: "/healthz", agent: false },
      (response) => response.resume().on("end", () => resolve(performance.now() - begin))
    )
      .on("error", () => resolve(Infinity))
  )
}

process.on("SIGTERM", () => {
  if (waiting !== undefined) count(waiting.used, performance.now() - waiting.since, 0)
  memory()
  process.stdout.write(JSON.stringify({ slowest, peak }), () => process.exit())
})
process.on("disconnect", () => process.exit())

const idle = Http.createServer((_, response) => response.end())
await new Promise<void>((resolve) => idle.listen(0, "127.0.0.1", resolve))
const idlePort = (idle.address() as Net.AddressInfo).port

// The first request pays for what is loaded late.
await ask(port)
process.send?.("ready")
while (true) {
  waiting = { since: performance.now(), used: used() }
  const [taken, otherwise] = await Promise.all([ask(port), ask(idlePort)])
  count(waiting.used, taken, otherwise)
  waiting = undefined
  memory()
  await sleep(100)
}
