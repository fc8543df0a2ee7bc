/**
 * The first call of a process beside its hundredth, over TLS, to a service that takes ten milliseconds: with a connection that was warmed
 * as the layer was built, and without. Each row is the median of several processes.
 */
import { fork } from "node:child_process"
import { once } from "node:events"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { startServer } from "./process.ts"

const processes = 9

/** At most so many times the hundredth, where the connection was warmed. */
const atMost = 3

/** Milliseconds of a call. */
interface Times {
  readonly first: number
  readonly hundredth: number
}

const median = (numbers: ReadonlyArray<number>): number => numbers.toSorted((a, b) => a - b)[numbers.length >> 1] ?? NaN

const measure = async (url: string, authority: string, warmUp: boolean): Promise<Times> => {
  const child = fork(Path.join(import.meta.dirname, "firstCallClient.ts"), [url, String(warmUp)], {
    env: { ...process.env, NODE_EXTRA_CA_CERTS: authority }
  })
  const exited = once(child, "exit")
  const [times] = await Promise.race([
    once(child, "message"),
    exited.then(() => Promise.reject(new Error("the client has ended")))
  ])
  await exited
  return times as Times // what our own script sends
}

/** Runs the comparison and prints it. */
export const run = async (): Promise<void> => {
  const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "bench-"))
  const authority = Path.join(folder, "authority.pem")
  const server = await startServer("bench/src/firstCallService.ts", { args: [authority] })
  const url = server.url.replace("http://127.0.0.1", "https://localhost")
  console.log("\nfirst-call: milliseconds of the first and the hundredth call, over TLS, the service taking 10 of each")
  try {
    for (const warmUp of [false, true]) {
      const all: Array<Times> = []
      for (let run = 0; run < processes; run++) all.push(await measure(url, authority, warmUp))
      const first = median(all.map(({ first }) => first))
      const hundredth = median(all.map(({ hundredth }) => hundredth))
      const ratio = median(all.map(({ first, hundredth }) => first / hundredth))
      const verdict = warmUp ? `, target ${atMost}: ${ratio <= atMost ? "met" : "missed"}` : ""
      console.log(
        `${warmUp ? "warmed" : "cold"}`.padEnd(10) +
          `${first.toFixed(1)} and ${hundredth.toFixed(1)}, ${ratio.toFixed(1)} ×${verdict}`
      )
    }
  } finally {
    await server.stop()
    Fs.rmSync(folder, { recursive: true })
  }
}
